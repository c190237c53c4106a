"""Losses, from logits T (B, K) and targets Y (B, K): the sum over classes, the mean over the batch.

Each loss owns its output non-linearity Ŷ(T), so that loss and gradient are taken from the logit in
a form that neither overflows nor cancels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mlpcli.nn.activations import sigmoid

Array = NDArray[Any]


class Loss:
    """A loss with its buffers for (batch_size, classes) logits of `dtype`."""

    def __init__(self, batch_size: int, classes: int, dtype: DTypeLike) -> None:
        self._terms = np.empty((batch_size, classes), dtype)
        self._G = np.empty((batch_size, classes), dtype)
        self._row = np.empty((batch_size, 1), dtype)

    def forward(self, T: Array, Y: Array) -> Any:
        """Return L, a Python number: complex where T is complex."""
        raise NotImplementedError

    def backward(self, T: Array, Y: Array) -> Array:
        """Return G = dL/dT, (B, K), valid until the next call."""
        raise NotImplementedError

    def probs(self, T: Array) -> Array:
        """Return Ŷ, (B, K), valid until the next call."""
        raise NotImplementedError


class SigmoidCrossEntropy(Loss):
    """Ŷ = σ(T); L = −y log ŷ − (1 − y) log(1 − ŷ): equation (3) of the note."""

    def forward(self, T: Array, Y: Array) -> Any:
        n = len(T)
        A, G = self._terms[:n], self._G[:n]
        # −y log σ(t) − (1−y) log(1−σ(t)) = |t|/2 + t(½ − y) + log(1 + e^−|t|), where |t| is
        # t times the sign of its real part. The first two terms may cancel and are added first:
        # of a right answer the small logarithm is left, and nothing of it is lost.
        np.sign(T.real, out=A)
        A *= 0.5
        A *= T
        np.subtract(0.5, Y, out=G)
        G *= T
        G += A
        A *= -2
        np.exp(A, out=A)
        np.log1p(A, out=A)
        A += G
        return (A.sum() / n).item()

    def backward(self, T: Array, Y: Array) -> Array:
        G = self.probs(T)
        G -= Y
        G /= len(T)  # G = (Ŷ − Y)/n: equation (8)
        return G

    def probs(self, T: Array) -> Array:
        return sigmoid(T, out=self._G[: len(T)])


class SquaredError(Loss):
    """Ŷ = σ(T); L = ½‖ŷ − y‖²: equation (1) of the note."""

    def forward(self, T: Array, Y: Array) -> Any:
        n = len(T)
        A = np.subtract(self.probs(T), Y, out=self._terms[:n])
        A *= A
        return (0.5 * A.sum() / n).item()

    def backward(self, T: Array, Y: Array) -> Array:
        n = len(T)
        G, A = self.probs(T), self._terms[:n]
        np.subtract(1, G, out=A)
        A *= G
        G -= Y
        G *= A
        G /= n  # G = (Ŷ − Y) ∘ Ŷ ∘ (1 − Ŷ)/n: equation (2)
        return G

    def probs(self, T: Array) -> Array:
        return sigmoid(T, out=self._G[: len(T)])


class SoftmaxCrossEntropy(Loss):
    """Ŷ = e^T / Σ e^T by row; L = −Σ y log ŷ, for targets that sum to 1 by row."""

    def forward(self, T: Array, Y: Array) -> Any:
        n = len(T)
        A, row = self._terms[:n], self._row[:n]
        self._shift(T, A)
        E = np.exp(A, out=self._G[:n])
        # The largest term, e^0 = 1, stays out of the sum: else a small rest would be lost in it.
        E[np.arange(n), np.argmax(A.real, axis=1)] -= 1
        np.sum(E, axis=1, keepdims=True, out=row)
        np.log1p(row, out=row)
        A *= Y  # −Σ y log ŷ = log(1 + Σ' e^(t−m)) − Σ y(t−m)
        return ((row.sum() - A.sum()) / n).item()

    def backward(self, T: Array, Y: Array) -> Array:
        G = self.probs(T)
        G -= Y
        G /= len(T)  # G = (Ŷ − Y)/n
        return G

    def probs(self, T: Array) -> Array:
        n = len(T)
        G, row = self._G[:n], self._row[:n]
        self._shift(T, G)
        np.exp(G, out=G)
        np.sum(G, axis=1, keepdims=True, out=row)
        G /= row
        return G

    def _shift(self, T: Array, out: Array) -> None:
        """out = T − m, with m the largest real part of each row: a constant that cancels in Ŷ."""
        row = self._row[: len(T)]
        np.max(T.real, axis=1, keepdims=True, out=row)
        np.subtract(T, row, out=out)


LOSSES: dict[str, type[Loss]] = {
    "sigmoid_cross_entropy": SigmoidCrossEntropy,
    "squared_error": SquaredError,
    "softmax_cross_entropy": SoftmaxCrossEntropy,
}
