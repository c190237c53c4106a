"""The dense layer: T = X W + b forward, and backward the gradients of all three."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Dense:
    """T = X W + b, on views that the network owns: W, dW (D, H) and b, db (H,).

    `input_gradient=False` skips dX, which the first layer does not need.
    """

    def __init__(
        self, W: Array, b: Array, dW: Array, db: Array, batch_size: int, *, input_gradient: bool
    ) -> None:
        self.W, self.b, self.dW, self.db = W, b, dW, db
        D, H = W.shape
        self._T = np.empty((batch_size, H), W.dtype)
        self._dX = np.empty((batch_size, D), W.dtype) if input_gradient else None
        self.X: Array = self._T[:0]

    def forward(self, X: Array) -> Array:
        """Return T, (B, H), valid until the next call."""
        self.X, T = X, self._T[: len(X)]
        np.dot(X, self.W, out=T)
        T += self.b
        return T  # T = X W + b

    def backward(self, G: Array) -> Array:
        """Fill dW and db from G = dL/dT, (B, H); return dL/dX, (B, D), or nothing if skipped."""
        np.dot(self.X.T, G, out=self.dW)  # dW = Xᵀ G: equation (9), with its sign put right
        np.sum(G, axis=0, out=self.db)  # db = Σ_rows G: missing in the note
        if self._dX is None:
            return G[:0]
        return np.dot(G, self.W.T, out=self._dX[: len(G)])  # dX = G Wᵀ
