"""Gradients broken on purpose, in the ways that people break them: the gradient check is checked.

Each flaw changes one network and its loss, not the code, so nothing of it outlives them. A flaw
knows the dtype it is in: `float32_noise` spoils only what trains.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpcli.nn.activations import Activation
from mlpcli.nn.layers import Dense
from mlpcli.nn.losses import Loss
from mlpcli.nn.network import Network

Array = NDArray[Any]


def _sign(network: Network, loss: Loss) -> None:
    """Y − Ŷ in the place of Ŷ − Y: the sign of the note's §2, (9) and §3."""
    right = loss.backward
    _replace(loss, "backward", lambda T, Y: np.negative(right(T, Y)))


def _missing_mean(network: Network, loss: Loss) -> None:
    """The sum over the batch, as (9) has it, under a loss that is a mean: 1/n is missing."""
    right = loss.backward
    _replace(loss, "backward", lambda T, Y: right(T, Y) * len(T))


def _missing_bias(network: Network, loss: Loss) -> None:
    """No bias gradient at all: the note drops b¹ "for simplicity"."""
    _after_backward(network, lambda layer: layer.db.fill(0))


def _missing_derivative(network: Network, loss: Loss) -> None:
    """An error passes each activation unchanged: σ′ is missing."""
    for layer in network.layers:
        if isinstance(layer, Activation):
            _replace(layer, "backward", lambda G: G)


def _transposed_weight(network: Network, loss: Loss) -> None:
    """An error is sent down through W, read in the wrong order, in the place of Wᵀ."""
    for layer in _dense(network)[1:]:
        right, W = layer.backward, layer.W

        def wrong(G: Array, right: Any = right, W: Array = W) -> Array:
            right(G)
            return np.dot(G, W.reshape(W.shape[::-1]))

        _replace(layer, "backward", wrong)


def _doubled_entry(network: Network, loss: Loss) -> None:
    """One entry of dW1, the largest of its first column, is twice what it should be."""

    def double(layer: Dense) -> None:
        layer.dW[np.abs(layer.dW[:, 0]).argmax(), 0] *= 2

    _after_backward(network, double, first_only=True)


def _float32_noise(network: Network, loss: Loss) -> None:
    """Noise of relative size 1e-3, in float32 alone: what a careless kernel would do."""
    if network.params.dtype != np.float32:
        return
    rng = np.random.default_rng(0)

    def spoil(layer: Dense) -> None:
        layer.dW *= (1 + 1e-3 * rng.standard_normal(layer.dW.shape)).astype(np.float32)
        layer.db *= (1 + 1e-3 * rng.standard_normal(layer.db.shape)).astype(np.float32)

    _after_backward(network, spoil)


FLAWS: dict[str, Callable[[Network, Loss], None]] = {
    "sign": _sign,
    "missing_mean": _missing_mean,
    "missing_bias": _missing_bias,
    "missing_derivative": _missing_derivative,
    "transposed_weight": _transposed_weight,
    "doubled_entry": _doubled_entry,
    "float32_noise": _float32_noise,
}


def _dense(network: Network) -> list[Dense]:
    return [layer for layer in network.layers if isinstance(layer, Dense)]


def _after_backward(
    network: Network, change: Callable[[Dense], object], *, first_only: bool = False
) -> None:
    for layer in _dense(network)[: 1 if first_only else None]:
        right = layer.backward

        def wrong(G: Array, right: Any = right, layer: Dense = layer) -> Array:
            result: Array = right(G)
            change(layer)
            return result

        _replace(layer, "backward", wrong)


def _replace(owner: object, name: str, function: Callable[..., Any]) -> None:
    """Give one object, not its class, another method."""
    setattr(owner, name, function)
