"""Backward passes of a model, in float64 and in the training dtype, with the loss's derivatives.

The copies of the model have buffers of its own batch size, full of NaN at first. They see a whole
batch, then shorter ones, then the first again: what is left of an earlier batch must not show.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpcli.gradcheck.numerical import (
    Active,
    Derivatives,
    active_units,
    norm,
    relative_error,
    same_units,
)
from mlpcli.gradcheck.reference import Gradients, rounding
from mlpcli.nn.layers import Dense
from mlpcli.nn.model import Model

SHORT = 7  # examples of the short batch, at most: no multiple of what a kernel takes at a time
REPEATS = 50
SATURATED = 8.0  # root mean square of each layer's pre-activations at large weights

Batch = tuple[NDArray[Any], NDArray[Any]]  # X (n, D) and Y (n, K)
Flaw = Callable[[Model], None]


@dataclass(frozen=True)
class Pass:
    """One backward pass: its batch, and the gradients in float64 and in the training dtype."""

    batch: str
    is_saturated: bool  # at large weights, and not at those to be checked
    derivatives: Derivatives  # of the loss on this batch
    rounding: Callable[[], Gradients]  # of a right gradient, in units of the precision; costly
    gradients: Gradients
    in_training_dtype: Gradients
    crosses_kinks: bool  # a ReLU unit is active in one of the two dtypes alone


class Weights:
    """Copies of a model at the same weights: in float64, complex128 and the training dtype."""

    def __init__(
        self,
        model: Model,
        batch: Batch,
        rng: np.random.Generator,
        flaw: Flaw | None,
        *,
        are_large: bool = False,
    ) -> None:
        self.batch, self.rng, dtype = batch, rng, model.network.params.dtype
        self.are_large = are_large
        in_complex, self.model, self.training_model = (
            model.in_dtype(dtype, model.batch_size) for dtype in (np.complex128, np.float64, dtype)
        )
        self.in_complex = in_complex
        for copy in (self.model, self.training_model, in_complex):
            _fill_buffers(copy)
            if flaw is not None:
                flaw(copy)
        if are_large:
            large, n = saturated(model, batch[0]).network.params, len(batch[0])
            for copy in (self.model, self.training_model):  # of other weights nothing may be kept
                _gradients(copy, _rows(batch, n, copy.network.params.dtype), n)
            for copy in (self.model, self.training_model, in_complex):
                copy.network.params[...] = large

    def passes(self) -> list[Pass]:
        """Return the passes of the whole batch, of shorter ones after it, of the first again."""
        n = len(self.batch[0])
        short = min(SHORT, (n + 1) // 2)
        shorter = [short, 1] if short > 1 else [1]
        # A pass that changes its inputs changes those of the next one.
        trained, exact = _rows(self.batch, n), _rows(self.batch, n, np.float64)
        found = [
            (_gradients(self.model, exact, rows), _gradients(self.training_model, trained, rows))
            for rows in (n, *shorter, n)
        ]
        whole = self._derivatives(n)
        parts = [self._derivatives(rows) for rows in shorter]
        after = [f"batch of {rows} after one of {n}" for rows in shorter]
        names = (f"batch of {n}", *after, f"batch of {n} again")
        return [
            Pass(
                name + (", large weights" if self.are_large else ""),
                self.are_large,
                *derivatives,
                gradients=gradients,
                in_training_dtype=in_training_dtype,
                crosses_kinks=not same_units(units, training_units),
            )
            for name, derivatives, ((gradients, units), (in_training_dtype, training_units)) in zip(
                names, (whole, *parts, whole), found, strict=True
            )
        ]

    def _derivatives(self, rows: int) -> tuple[Derivatives, Callable[[], Gradients]]:
        X, Y = _rows(self.batch, rows, np.float64)
        derivatives = Derivatives(self.model, self.in_complex, X, Y)
        return derivatives, functools.cache(partial(rounding, self.model, X, Y, self.rng))

    def repeated(self, p: Pass) -> Gradients:
        """Repeat a pass in the training dtype: return the gradients that are furthest from it."""
        model, (X, Y) = self.training_model, _rows(self.batch, len(p.derivatives.X))
        first = p.in_training_dtype
        furthest, errors = dict(first), dict.fromkeys(first, 0.0)
        for _ in range(REPEATS):
            model.backward(model.forward(X), Y)
            for name, gradient in model.network.named_grads.items():
                if not np.array_equal(gradient, first[name]):
                    again = gradient.astype(np.float64)
                    error = relative_error(again, first[name])
                    if error >= errors[name]:
                        furthest[name], errors[name] = again, error
        return furthest

    def losses_around_a_step(self, gradients: Gradients) -> tuple[float, float]:
        """Return the loss, and the loss after a small step against these gradients."""
        X, Y = _rows(self.batch, len(self.batch[0]), np.float64)
        loss = self.model.loss(self.model.forward(X), Y)
        squares = sum(norm(gradient) ** 2 for gradient in gradients.values())
        step = 1e-3 * loss / squares if squares else 0.0
        for name, gradient in gradients.items():
            self.model.network.named_params[name] -= step * gradient
        return loss, self.model.loss(self.model.forward(X), Y)


def saturated(model: Model, X: NDArray[Any]) -> Model:
    """Return a copy with weights so large that units and predictions on X saturate."""
    large = model.in_dtype(model.network.params.dtype, model.batch_size)
    for layer in large.network.layers:
        X = layer.forward(X)
        if isinstance(layer, Dense):
            size = norm(X) / math.sqrt(X.size)
            if math.isfinite(size) and size > 0:
                layer.W *= SATURATED / size
                layer.b *= SATURATED / size
                X *= SATURATED / size
    return large


def _rows(batch: Batch, rows: int, dtype: Any = None) -> Batch:
    X, Y = (array[-rows:].astype(dtype or array.dtype) for array in batch)
    return X, Y


def _gradients(model: Model, batch: Batch, rows: int) -> tuple[Gradients, Active]:
    """Return float64 copies of the gradients of the last rows, and the active ReLU units."""
    X, Y = (array[-rows:] for array in batch)
    T = model.forward(X)
    units = active_units(model)
    model.backward(T, Y)
    return {k: g.astype(np.float64) for k, g in model.network.named_grads.items()}, units


def _fill_buffers(model: Model) -> None:
    """Fill all memory but the parameters with NaN, of which no result may be made."""
    params = model.network.params.copy()
    for owner in (model.network, *model.network.layers, model.criterion):
        for array in vars(owner).values():
            if isinstance(array, np.ndarray):
                array.fill(np.nan)
    model.network.params[...] = params
