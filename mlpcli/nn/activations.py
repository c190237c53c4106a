"""Activations: Z = a(T) forward; backward, G becomes G ∘ a′(T).

They keep T and Z of the last forward pass. Backward works in place on G and uses T and Z, which are
no longer needed, as scratch, so neither direction allocates an array.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]


class Activation:
    """An elementwise function with its buffer of (batch_size, width) numbers of `dtype`."""

    def __init__(self, batch_size: int, width: int, dtype: DTypeLike) -> None:
        self._buffer = np.empty((batch_size, width), dtype)
        self.T = self.Z = self._buffer[:0]

    def forward(self, T: Array) -> Array:
        """Return Z = a(T), (B, H), valid until the next call."""
        self.T, self.Z = T, self._buffer[: len(T)]
        self._forward(self.T, self.Z)
        return self.Z

    def backward(self, G: Array) -> Array:
        """Multiply G = dL/dZ, (B, H), by a′(T) in place, and return it: dL/dT."""
        self._backward(G, self.T, self.Z)
        return G

    def _forward(self, T: Array, Z: Array) -> None:
        raise NotImplementedError

    def _backward(self, G: Array, T: Array, Z: Array) -> None:
        raise NotImplementedError


class Sigmoid(Activation):
    """σ(t) = 1/(1 + e^−t); σ′ = σ(1 − σ), equation (5) of the note."""

    def _forward(self, T: Array, Z: Array) -> None:
        sigmoid(T, out=Z)

    def _backward(self, G: Array, T: Array, Z: Array) -> None:
        np.subtract(1, Z, out=T)
        T *= Z  # Z ∘ (1 − Z)
        G *= T


class Tanh(Activation):
    """tanh(t); tanh′ = 1 − tanh² = (1 − tanh)(1 + tanh)."""

    def _forward(self, T: Array, Z: Array) -> None:
        np.tanh(T, out=Z)

    def _backward(self, G: Array, T: Array, Z: Array) -> None:
        np.subtract(1, Z, out=T)
        G *= T
        np.add(1, Z, out=T)
        G *= T


class Relu(Activation):
    """max(t, 0); its derivative is 1 where t > 0 and 0 elsewhere, at the kink t = 0 too."""

    def _forward(self, T: Array, Z: Array) -> None:
        np.greater(T.real, 0, out=Z)
        Z *= T

    def _backward(self, G: Array, T: Array, Z: Array) -> None:
        np.greater(Z.real, 0, out=T)
        G *= T


class Gelu(Activation):
    """½t(1 + u), u = tanh(c(t + at³)), c = √(2/π), a = 0.044715 (Hendrycks & Gimpel 2016).

    Its derivative: ½(1 + u) + ½t(1 − u²)c(1 + 3at²).
    """

    C, A = math.sqrt(2 / math.pi), 0.044715

    def __init__(self, batch_size: int, width: int, dtype: DTypeLike) -> None:
        super().__init__(batch_size, width, dtype)
        self._U = np.empty_like(self._buffer)

    def _forward(self, T: Array, Z: Array) -> None:
        U = np.multiply(T, T, out=self._U[: len(T)])
        U *= self.C * self.A
        U += self.C
        U *= T
        np.tanh(U, out=U)
        np.add(U, 1, out=Z)
        Z *= T
        Z *= 0.5

    def _backward(self, G: Array, T: Array, Z: Array) -> None:
        U = self._U[: len(T)]
        np.multiply(T, T, out=Z)
        Z *= 3 * self.C * self.A
        Z += self.C
        T *= Z  # t c(1 + 3at²)
        np.multiply(U, U, out=Z)
        np.subtract(1, Z, out=Z)
        T *= Z
        T += U
        T += 1
        T *= 0.5
        G *= T


def sigmoid(T: Array, out: Array) -> Array:
    """σ(t) = ½ tanh(½t) + ½: never overflows, is analytic, and is NumPy's fastest form."""
    np.multiply(T, 0.5, out=out)
    np.tanh(out, out=out)
    out *= 0.5
    out += 0.5
    return out


ACTIVATIONS: dict[str, type[Activation]] = {
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "relu": Relu,
    "gelu": Gelu,
}
