"""Gradients broken on purpose, in the ways that people break them: the gradient check is checked.

Each flaw changes one model, not the code, so nothing of it outlives the model. A flaw knows the
dtype it is in: `float32_noise` changes float32 gradients alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpcli.nn.activations import Activation
from mlpcli.nn.layers import Dense
from mlpcli.nn.model import Model

Array = NDArray[Any]
Flaw = Callable[[Model], None]


def sign(model: Model) -> None:
    """Y − Ŷ in place of Ŷ − Y: the sign of the note's §2, (9) and §3."""
    right = model.criterion.backward
    _replace(model.criterion, "backward", lambda T, Y: np.negative(right(T, Y)))


def missing_mean(model: Model) -> None:
    """The sum over the batch, as (9) has it, under a loss that is a mean: 1/n is missing."""
    right = model.criterion.backward
    _replace(model.criterion, "backward", lambda T, Y: right(T, Y) * len(T))


def missing_bias(model: Model) -> None:
    """No bias gradient at all: the note drops b¹ "for simplicity"."""
    _after_backward(model, lambda layer: layer.db.fill(0))


def missing_derivative(model: Model) -> None:
    """An error passes each activation unchanged: σ′ is missing."""
    for layer in model.network.layers:
        if isinstance(layer, Activation):
            _replace(layer, "backward", lambda G: G)


def transposed_weight(model: Model) -> None:
    """An error is sent back through W, read in the wrong order, in place of Wᵀ."""
    for layer in _dense(model)[1:]:
        right, W = layer.backward, layer.W

        def wrong(G: Array, right: Any = right, W: Array = W) -> Array:
            right(G)
            return np.dot(G, W.reshape(W.shape[::-1]))

        _replace(layer, "backward", wrong)


def doubled_entry(model: Model) -> None:
    """One entry of dW1, the largest of its first column, is twice what it should be."""

    def double(layer: Dense) -> None:
        layer.dW[np.abs(layer.dW[:, 0]).argmax(), 0] *= 2

    _after_backward(model, double, first_only=True)


def float32_noise(model: Model) -> None:
    """Noise of relative size 1e-3, in float32 alone: what a careless kernel would do."""
    if model.network.params.dtype != np.float32:
        return
    rng = np.random.default_rng(0)

    def add_noise(layer: Dense) -> None:
        layer.dW *= (1 + 1e-3 * rng.standard_normal(layer.dW.shape)).astype(np.float32)
        layer.db *= (1 + 1e-3 * rng.standard_normal(layer.db.shape)).astype(np.float32)

    _after_backward(model, add_noise)


def named(name: str) -> Flaw:
    """Return the flaw with one of the names FLAWS."""
    flaw: Flaw = globals()[name]
    return flaw


def _dense(model: Model) -> list[Dense]:
    return [layer for layer in model.network.layers if isinstance(layer, Dense)]


def _after_backward(
    model: Model, change: Callable[[Dense], object], *, first_only: bool = False
) -> None:
    for layer in _dense(model)[: 1 if first_only else None]:
        right = layer.backward

        def wrong(G: Array, right: Any = right, layer: Dense = layer) -> Array:
            result: Array = right(G)
            change(layer)
            return result

        _replace(layer, "backward", wrong)


def _replace(owner: object, name: str, function: Callable[..., Any]) -> None:
    """Give one object, not its class, another method."""
    setattr(owner, name, function)
