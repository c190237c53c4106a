"""The dense layer, T = X W + b with the gradients of all three, and dropout, X ∘ M."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]


class Dense:
    """T = X W + b, on views that the network owns: W, dW (D, H) and b, db (H,).

    `input_gradient=False` spares the first layer its dX, which nobody asks for.
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
        """Fill dW and db from G = dL/dT, (B, H); return dL/dX, (B, D), empty if not asked for."""
        np.dot(self.X.T, G, out=self.dW)  # dW = Xᵀ G: equation (9), with its sign put right
        np.sum(G, axis=0, out=self.db)  # db = Σ_rows G: missing in the note
        if self._dX is None:
            return G[:0]
        return np.dot(G, self.W.T, out=self._dX[: len(G)])  # dX = G Wᵀ


class Dropout:
    """X ∘ M, where M is 0 with probability p and 1/(1 − p) else (Srivastava et al. 2014).

    The masks are drawn in float32 for every dtype, so that the same generator gives the same ones.
    """

    def __init__(self, p: float, batch_size: int, width: int, dtype: DTypeLike) -> None:
        self.p = p
        self._draws = np.empty((batch_size, width), np.float32)
        self._mask = np.empty((batch_size, width), np.finfo(dtype).dtype)
        self._Z = np.empty((batch_size, width), dtype)
        self.M: Array | None = None

    def draw(self, n: int, rng: np.random.Generator | None) -> None:
        """Draw M for n examples; without a generator, drop nothing."""
        self.M = None
        if rng is not None:
            draws = rng.random(out=self._draws, dtype=np.float32)[:n]
            self.M = np.greater_equal(draws, np.float32(self.p), out=self._mask[:n])
            self.M *= 1 / (1 - self.p)

    def forward(self, X: Array) -> Array:
        """Return X ∘ M, (B, D), valid until the next call; X itself where nothing is dropped."""
        return X if self.M is None else np.multiply(X, self.M, out=self._Z[: len(X)])

    def backward(self, G: Array) -> Array:
        """Multiply G = dL/d(X ∘ M), (B, D), by M in place, and return it: dL/dX."""
        if self.M is not None:
            G *= self.M
        return G
