"""The fully connected network: from inputs to logits, and back to every gradient."""

from __future__ import annotations

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
    all biases; `parameters` and `gradients` name their views: W1 (D, H), b1 (H,), W2, b2, …
    """

    def __init__(
        self,
        layer_sizes: Sequence[int],
        activation: str = "sigmoid",
        batch_size: int = 128,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.layer_sizes, self.activation = tuple(layer_sizes), activation
        shapes = list(zip(self.layer_sizes[:-1], self.layer_sizes[1:], strict=True))
        weights = sum(D * H for D, H in shapes)
        self.params = np.zeros(weights + sum(H for _, H in shapes), dtype)
        self.grads = np.zeros_like(self.params)
        self.weights = self.params[:weights]
        self.parameters = _name_views(self.params, shapes)
        self.gradients = _name_views(self.grads, shapes)

        self.layers: list[Dense | Activation] = []
        for i in range(1, len(shapes) + 1):
            W, b = self.parameters[f"W{i}"], self.parameters[f"b{i}"]
            dW, db = self.gradients[f"W{i}"], self.gradients[f"b{i}"]
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

    def twin(self, batch_size: int, dtype: DTypeLike) -> Network:
        """Return a network of the same make and parameters in another dtype."""
        twin = Network(self.layer_sizes, self.activation, batch_size, dtype)
        twin.params[...] = self.params
        return twin


def _name_views(flat: Array, shapes: list[tuple[int, int]]) -> dict[str, Array]:
    """Cut W1, W2, … and then b1, b2, … from a flat vector; return them as W1, b1, W2, b2, …"""
    weights = np.cumsum([0] + [D * H for D, H in shapes])
    biases = weights[-1] + np.cumsum([0] + [H for _, H in shapes])
    views = {}
    for i, (D, H) in enumerate(shapes):
        views[f"W{i + 1}"] = flat[weights[i] : weights[i + 1]].reshape(D, H)
        views[f"b{i + 1}"] = flat[biases[i] : biases[i + 1]]
    return views
