"""The fully connected network: from inputs to logits, and back to every gradient."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mlpcli.nn.activations import ACTIVATIONS, Activation
from mlpcli.nn.initializers import INITIALIZERS
from mlpcli.nn.layers import Dense

Array = NDArray[Any]


class Network:
    """Dense layers with an activation between each two, ending in logits.

    `layer_sizes` are D, the hidden sizes, K: (3072, 512, 10) is the note's network and (3072, 10)
    is logistic regression. `params` and `grads` are flat vectors of `dtype`, all weights before
    all biases; `named_params` and `named_grads` are their views by name: W1 (D, H), b1 (H,), W2,
    b2, …; `weights` is the part of `params` that holds the weights.
    """

    def __init__(
        self,
        layer_sizes: Sequence[int],
        activation: str = "sigmoid",
        batch_size: int = 128,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.layer_sizes, self.activation = tuple(layer_sizes), activation
        shapes = named_shapes(self.layer_sizes)
        self.params = np.zeros(sum(math.prod(shape) for shape in shapes.values()), dtype)
        self.grads = np.zeros_like(self.params)
        self.weights = self.params[: sum(math.prod(s) for s in shapes.values() if len(s) == 2)]
        self.named_params = _named_views(self.params, shapes)
        self.named_grads = _named_views(self.grads, shapes)

        self.layers: list[Dense | Activation] = []
        for i in range(1, len(self.layer_sizes)):
            W, b = self.named_params[f"W{i}"], self.named_params[f"b{i}"]
            dW, db = self.named_grads[f"W{i}"], self.named_grads[f"b{i}"]
            if i > 1:
                self.layers.append(ACTIVATIONS[activation](batch_size, len(W), dtype))
            self.layers.append(Dense(W, b, dW, db, batch_size, input_gradient=i > 1))

    def initialize(self, initializer: str, rng: np.random.Generator) -> None:
        """Draw every W; every b is zero."""
        draw = INITIALIZERS[initializer]
        for layer in self.layers:
            if isinstance(layer, Dense):
                D, H = layer.W.shape
                layer.W[...] = draw(D, H, rng)
                layer.b[...] = 0

    def forward(self, X: Array) -> Array:
        """Return the logits, (B, K), of inputs X, (B, D); valid until the next call."""
        for layer in self.layers:
            X = layer.forward(X)
        return X

    def backward(self, G: Array) -> None:
        """Fill `grads` from G = dL/dT of the logits, (B, K). Once for each forward pass."""
        for layer in reversed(self.layers):
            G = layer.backward(G)


def named_shapes(layer_sizes: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of W1, b1, W2, b2, … of a network with these layer sizes."""
    shapes: dict[str, tuple[int, ...]] = {}
    for i, (D, H) in enumerate(itertools.pairwise(layer_sizes), start=1):
        shapes |= {f"W{i}": (D, H), f"b{i}": (H,)}
    return shapes


def _named_views(flat: Array, shapes: dict[str, tuple[int, ...]]) -> dict[str, Array]:
    """Cut a flat vector into all weights, then all biases; return them in the order of `shapes`."""
    views, start = dict.fromkeys(shapes, flat), 0
    for name in sorted(shapes, key=lambda name: len(shapes[name]), reverse=True):
        end = start + math.prod(shapes[name])
        views[name] = flat[start:end].reshape(shapes[name])
        start = end
    return views
