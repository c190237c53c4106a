"""Numerical differentiation of a model's loss: the complex step, differences, the Taylor slope."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpcli.nn.activations import Relu
from mlpcli.nn.model import Model

COMPLEX_STEP = 1e-30
CENTRAL_STEPS = 10.0 ** -np.arange(2.0, 7.5, 0.5)
SLOPE_TOLERANCE = 0.1  # about 2 for a right gradient, and about 1 for a wrong one

Vector = NDArray[np.float64]
Where = Any  # an index, or a slice, into a flattened tensor
Active = list[NDArray[np.bool_]]  # which units of each ReLU layer are above 0


class Derivatives:
    """Derivatives of the loss L of a float64 model on one batch, with respect to one tensor.

    `complex_model` is the model in complex128; `level` is L at the model's parameters, `rounding`
    the error of one evaluation of it.
    """

    def __init__(self, model: Model, complex_model: Model, X: Vector, Y: Vector) -> None:
        self.model, self.complex_model, self.X, self.Y = model, complex_model, X, Y
        T = model.forward(X)
        self.level: float = model.loss(T, Y)
        # The loss is a difference of terms as large as the logits, and never below 0.
        terms = self.level + float(np.abs(T).max(axis=1).mean())
        self.rounding = 10 * sys.float_info.epsilon * terms

    def complex_step(self, name: str, where: Where, direction: Any) -> float:
        """Return dL/ds at s = 0, for the tensor's entries `where` moved by s · direction.

        f′(p) = Im f(p + ih)/h subtracts nothing (Squire & Trapp 1998).
        """
        entries = self.complex_model.network.named_params[name].reshape(-1)
        entries.imag[where] = COMPLEX_STEP * direction
        value = self.complex_model.loss(self.complex_model.forward(self.X), self.Y)
        entries.imag[where] = 0
        return float(value.imag / COMPLEX_STEP)

    def central(self, name: str, where: Where, direction: Any, step: float) -> tuple[float, bool]:
        """Return (L(p + h) − L(p − h))/2h, and whether no ReLU crossed its kink in between."""
        above, active_above = self._loss_at(name, where, step * direction)
        below, active_below = self._loss_at(name, where, -step * direction)
        return (above - below) / (2 * step), same_units(active_above, active_below)

    def best_central_step(self, name: str, direction: Vector) -> float:
        """Return the step whose slope differs least from that of its neighbours in a ladder."""
        slopes = [self.central(name, slice(None), direction, h)[0] for h in CENTRAL_STEPS]
        changes = np.abs(np.diff(slopes))
        together = np.where(np.isnan(changes), np.inf, changes)
        return float(CENTRAL_STEPS[1 + int(np.argmin(together[:-1] + together[1:]))])

    def taylor_slope(self, name: str, gradient: Vector, directions: list[Vector]) -> float | None:
        """Return the slope of log |L(p + εv) − L(p) − ε v·g| over log ε, before rounding sets in.

        It is 2 for a right gradient and 1 for a wrong one; None where rounding hides its limit, and
        in between where the loss is curved so little that a higher power of ε shows. Of several
        directions the best counts: a wrong gradient is wrong along nearly all of them.
        """
        best = None
        for direction in directions:
            slope = self._slope_along(name, float(gradient @ direction), direction)
            best = slope if best is None else max(best, slope or best)
            if best is not None and best >= 2 - SLOPE_TOLERANCE:
                break
        return best

    def _slope_along(self, name: str, predicted: float, direction: Vector) -> float | None:
        _, active = self._loss_at(name, slice(None), 0 * direction)
        window: list[tuple[float, float]] = []
        for epsilon, value, active_there in self._falling(name, direction):
            remainder = abs(value - self.level - epsilon * predicted)
            if remainder <= 100 * self.rounding:
                break
            if math.isfinite(remainder) and same_units(active, active_there):
                window.append((math.log(epsilon), math.log(remainder)))
        if len(window) < 4:
            return None
        x, y = np.array(window[-4:]).T
        steps = np.diff(y) / np.diff(x)
        if steps[-1] > steps[0] + 0.02:  # still rising to 2 as ε falls: not yet at its limit
            return None
        return float(np.polyfit(x, y, 1)[0])

    def _falling(self, name: str, direction: Vector) -> Iterator[tuple[float, float, Active]]:
        """Yield ε = 1, ½, ¼, …, the loss there, and which ReLU units are active."""
        for power in range(40):
            epsilon = 0.5**power
            yield epsilon, *self._loss_at(name, slice(None), epsilon * direction)

    def _loss_at(self, name: str, where: Where, move: Any) -> tuple[float, Active]:
        """Return L with the tensor's entries `where` moved, and which ReLU units are active."""
        entries = self.model.network.named_params[name].reshape(-1)
        before = entries[where].copy()
        entries[where] += move
        value = self.model.loss(self.model.forward(self.X), self.Y)
        entries[where] = before
        return value, active_units(self.model)


def active_units(model: Model) -> Active:
    """Return which units of each ReLU layer were above 0 in the last forward pass."""
    return [layer.Z > 0 for layer in model.network.layers if isinstance(layer, Relu)]


def same_units(a: Active, b: Active) -> bool:
    return all((p == q).all() for p, q in zip(a, b, strict=True))


def relative_error(a: Vector, b: Vector) -> float:
    """Return ‖a − b‖/max(‖a‖, ‖b‖): 0 where both are zero, infinite for NaN."""
    return ratio(norm(a - b), max(norm(a), norm(b)))


def ratio(error: float, scale: float) -> float:
    """Return error/scale: 0 where the scale is 0, infinite where the ratio is not finite."""
    if scale == 0:
        return 0.0
    return error / scale if math.isfinite(error / scale) else math.inf


@np.errstate(over="ignore")  # it is then taken otherwise
def norm(a: Vector) -> float:
    """Return ‖a‖, without overflow or underflow in the squares."""
    flat = a.ravel()
    square = float(flat @ flat)
    if 1e-200 < square < 1e200:
        return math.sqrt(square)
    largest = np.max(np.abs(a), initial=0.0)
    if largest == 0 or not math.isfinite(largest):
        return largest
    scaled = flat / largest
    return largest * math.sqrt(scaled @ scaled)
