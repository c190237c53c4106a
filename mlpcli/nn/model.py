"""The model: a network with the loss that judges its logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mlpcli.nn.losses import LOSSES
from mlpcli.nn.network import Network

Array = NDArray[Any]


class Model:
    """A network and a loss of the same width, batch size and dtype.

    `layer_sizes`, `activation`, `batch_size` and `dtype` are those of `Network`; `loss` is a name
    in LOSSES. Memory belongs to `network`; `criterion` is the loss.
    """

    def __init__(
        self,
        layer_sizes: Sequence[int],
        activation: str = "sigmoid",
        loss: str = "sigmoid_cross_entropy",
        batch_size: int = 128,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.network = Network(layer_sizes, activation, batch_size, dtype)
        self.loss_name, self.batch_size = loss, batch_size
        self.criterion = LOSSES[loss](batch_size, layer_sizes[-1], dtype)

    def forward(self, X: Array) -> Array:
        """Return the logits T, (B, K), of inputs X, (B, D); valid until the next call."""
        return self.network.forward(X)

    def loss(self, T: Array, Y: Array) -> Any:
        """Return L of logits T and targets Y, both (B, K): complex where T is complex."""
        return self.criterion.forward(T, Y)

    def backward(self, T: Array, Y: Array) -> None:
        """Fill `network.grads` from the logits of the last forward pass and their targets."""
        self.network.backward(self.criterion.backward(T, Y))

    def probs(self, T: Array) -> Array:
        """Return the predicted probabilities Ŷ, (B, K), of logits T; valid until the next call."""
        return self.criterion.probs(T)

    def in_dtype(self, dtype: DTypeLike, batch_size: int) -> Model:
        """Return the same model, at the same parameters, in another dtype."""
        network = self.network
        other = Model(network.layer_sizes, network.activation, self.loss_name, batch_size, dtype)
        other.network.params[...] = network.params
        return other
