"""The gradient check: the gradients that train, proven tensor by tensor in three independent ways.

- The complex step, f′(p) = Im f(p + ih)/h (Squire & Trapp 1998), subtracts nothing and is exact to
  rounding. It runs through the very forward pass that trains, in complex128.
- Central differences, with a step chosen for each tensor.
- The Taylor remainder |L(p + εv) − L(p) − ε v·g|, which falls with the slope 2 in ε for a right
  gradient and with the slope 1 for a wrong one: a verdict that needs no tolerance.

Beside them, the gradient in the dtype that trains is held against the one in float64.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpcli.config.settings import Config
from mlpcli.data import features
from mlpcli.data.dataset import Dataset
from mlpcli.data.inputs import Draw, inputs_of
from mlpcli.gradcheck.diagnosis import Diagnosis, magnitudes
from mlpcli.gradcheck.flaws import FLAWS
from mlpcli.nn.activations import Relu
from mlpcli.nn.losses import LOSSES, Loss
from mlpcli.nn.network import Network
from mlpcli.runs.checkpoint import Checkpoint

IMAGES = 8
EVERY_ENTRY_BELOW = 2048  # parameters: a smaller network is checked entry by entry
ENTRIES = 24  # of each tensor of a larger one, beside random directions through all of the tensor
CENTRAL_ENTRIES = 8  # of these, by the weaker and dearer central differences too
COMPLEX_STEP = 1e-30
CENTRAL_STEPS = 10.0 ** -np.arange(2.0, 7.5, 0.5)

COMPLEX_TOLERANCE = 1e-12
CENTRAL_TOLERANCE = 1e-6
SLOPE_TOLERANCE = 0.1
DTYPE_TOLERANCE = {"float32": 1e-4, "float64": 1e-12}
ROUNDINGS = 4  # units in the last place, of each sum that makes a gradient
DIRECTIONS = 3  # before a slope below 2 is believed: along one, the curvature may vanish by chance

IN_TRAINING_DTYPE = "training dtype"

Vector = NDArray[np.float64]
Where = Any  # an index, or a slice, into a flattened tensor


@dataclass(frozen=True)
class TensorCheck:
    """What was found of one tensor's gradient.

    Errors are normwise, ‖analytic − numeric‖/max(‖analytic‖, ‖numeric‖): a tiny gradient is judged
    as a large one is. A limit is a tolerance and what rounding does to a right gradient, which
    counts only where nearly all of it cancels, as at a network that has learned its batch by heart.
    """

    name: str
    shape: tuple[int, ...]
    entries: int  # checked one by one
    complex_error: float  # over these entries
    complex_limit: float
    direction_error: float  # along a random direction through the whole tensor
    direction_limit: float
    central_error: float  # over a few of them, without those that crossed a kink
    central_limit: float  # what truncation and rounding may make of a right gradient
    central_step: float
    slope: float | None  # of the Taylor remainder; None where rounding hides its limit
    dtype_error: float  # of the gradient that trains, against the one in float64
    dtype_limit: float
    kinks: int  # entries whose central difference crossed a ReLU's kink
    worst_index: tuple[int, ...]  # of these entries, the one with the largest error of its own
    worst_analytic: float
    worst_numeric: float
    reason: str | None = None  # of a wrong gradient, the likely one

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def failures(self) -> tuple[str, ...]:
        """The verdicts that went against this gradient."""
        found = {
            "complex step": self.complex_error > self.complex_limit,
            "direction": self.direction_error > self.direction_limit,
            "central differences": self.central_error > self.central_limit,
            "Taylor slope": self.slope is not None and self.slope < 2 - SLOPE_TOLERANCE,
            IN_TRAINING_DTYPE: self.dtype_error > self.dtype_limit,
        }
        return tuple(name for name, failed in found.items() if failed)

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def decided(self) -> bool:
        """False where rounding is as large as the gradient itself, and so nothing is proven."""
        return self.complex_limit < 0.1


@dataclass(frozen=True)
class Report:
    """The checks of all tensors, and what one small step against the gradient does to the loss."""

    tensors: list[TensorCheck]
    loss: float
    loss_after_step: float

    @property
    def passed(self) -> bool:
        return all(tensor.passed for tensor in self.tensors)


@dataclass(frozen=True)
class Problem:
    """A network in the dtype that trains, its twin in float64 at the very same point, and a batch.

    X and Y are those of the dtype that trains, held in float64: nothing differs but arithmetic.
    """

    network: Network
    loss: Loss
    trained: Network
    trained_loss: Loss
    X: Vector
    Y: Vector


def check(
    config: Config, dataset: Dataset, saved: Checkpoint | None = None, flaw: str | None = None
) -> Report:
    """Check the configured network and loss on a few of the configured training images.

    At initial weights, with biases drawn too, since a bias of zero can hide an error; or at a saved
    network, on pixels. `flaw` names one of FLAWS to be found.
    """
    rng = np.random.default_rng(config.seed)
    train, classes = dataset.splits["train"], len(dataset.label_names)
    rows = rng.choice(train.rows, min(IMAGES, len(train)), replace=False)
    dtype = np.dtype(config.training.dtype)
    fitted = features.PLAIN if saved else features.fit(config.features, train)
    inputs = inputs_of(train.images[rows], fitted, len(rows), dtype)
    X = inputs.gather(Draw(np.arange(len(rows))))
    Y = np.eye(classes, dtype=dtype)[train.labels[rows]]

    if saved:
        trained = saved.network(len(rows))
    else:
        sizes = (X.shape[1], *config.model.hidden, classes)
        trained = Network(sizes, config.model.activation, len(rows), dtype)
        trained.initialize(config.model.initializer, rng)
        for name, view in trained.parameters.items():
            if name.startswith("b"):
                view[...] = rng.normal(0, 0.1, view.shape)
    return check_problem(pose(trained, config.loss, X, Y, flaw), rng)


def pose(
    trained: Network, loss: str, X: NDArray[Any], Y: NDArray[Any], flaw: str | None = None
) -> Problem:
    """Return the problem of a network, in the dtype that trains, with the flaw, if any, in it."""
    network = trained.twin(len(X), np.float64)
    problem = Problem(
        network,
        LOSSES[loss](len(Y), Y.shape[1], np.float64),
        trained,
        LOSSES[loss](len(Y), Y.shape[1], trained.params.dtype),
        X.astype(np.float64),
        Y.astype(np.float64),
    )
    if flaw is not None:
        FLAWS[flaw](problem.network, problem.loss)
        FLAWS[flaw](problem.trained, problem.trained_loss)
    return problem


@np.errstate(all="ignore")  # what is not finite is named in the report
def check_problem(problem: Problem, rng: np.random.Generator) -> Report:
    """Check every tensor of the problem's network at its present parameters."""
    network, loss, X, Y = problem.network, problem.loss, problem.X, problem.Y
    level = loss.forward(network.forward(X), Y)
    network.backward(loss.backward(network.forward(X), Y))
    gradients = {name: gradient.copy() for name, gradient in network.gradients.items()}

    trained, dtype = problem.trained, problem.trained.params.dtype
    inputs, targets = X.astype(dtype), Y.astype(dtype)
    trained.backward(problem.trained_loss.backward(trained.forward(inputs), targets))

    checker = _Checker(network, loss, X, Y, level)
    tensors = [
        checker.check(name, gradient, trained.gradients[name], rng)
        for name, gradient in gradients.items()
    ]
    if not all(tensor.passed for tensor in tensors):
        diagnosis = Diagnosis(network, loss, X, Y)
        tensors = [_with_reason(tensor, gradients[tensor.name], diagnosis) for tensor in tensors]

    g = np.concatenate([gradient.ravel() for gradient in gradients.values()])
    step = 1e-3 * level / (g @ g) if g.any() else 0.0
    before = network.params.copy()
    for name, gradient in gradients.items():
        network.parameters[name][...] -= step * gradient
    after = loss.forward(network.forward(X), Y)
    network.params[...] = before
    return Report(tensors, level, after)


def _with_reason(tensor: TensorCheck, gradient: Vector, diagnosis: Diagnosis) -> TensorCheck:
    if tensor.passed:
        return tensor
    if tensor.failures == (IN_TRAINING_DTYPE,):
        reason = "right in float64: the arithmetic of the training dtype is at fault"
    else:
        reason = diagnosis.explain(tensor.name, gradient)
    return dataclasses.replace(tensor, reason=reason)


class _Checker:
    """A float64 network with its shadow in complex128, at the same parameters."""

    def __init__(self, network: Network, loss: Loss, X: Vector, Y: Vector, level: float) -> None:
        self.network, self.loss, self.X, self.Y, self.level = network, loss, X, Y, level
        self.shadow = network.twin(len(X), np.complex128)
        self.shadow_loss = type(loss)(len(X), Y.shape[1], np.complex128)
        # The loss is a difference of terms as large as the logits.
        terms = abs(level) + float(np.abs(network.forward(X)).max(axis=1).mean())
        self.rounding = 10 * sys.float_info.epsilon * terms
        self.magnitudes = magnitudes(network, X)

    def check(
        self, name: str, gradient: Vector, trained: NDArray[Any], rng: np.random.Generator
    ) -> TensorCheck:
        size, flat = gradient.size, gradient.ravel()
        every = self.network.params.size <= EVERY_ENTRY_BELOW or size <= ENTRIES
        entries = np.arange(size) if every else rng.choice(size, ENTRIES, replace=False)
        analytic = flat[entries]
        by_complex = np.array([self._complex_slope(name, k, 1.0) for k in entries])

        directions = [_unit(rng.standard_normal(size)) for _ in range(DIRECTIONS)]
        along = self._complex_slope(name, slice(None), directions[0])
        ahead = float(flat @ directions[0])

        step = self._best_central_step(name, directions[0])
        some = rng.choice(entries, min(CENTRAL_ENTRIES, len(entries)), replace=False)
        central = [self._central_slope(name, k, 1.0, step) for k in some]
        wider = [self._central_slope(name, k, 1.0, 2 * step) for k in some]
        smooth = np.array([a[1] and b[1] for a, b in zip(central, wider, strict=True)])
        by_central = np.array([a[0] for a in central])[smooth]
        # Truncation grows as the square of the step, so twice the step tells how large it is.
        truncation = _norm(np.array([a[0] for a in wider])[smooth] - by_central) / 3
        rounding = self.rounding / step * math.sqrt(len(some))
        scale = max(_norm(flat[some][smooth]), _norm(by_central))

        magnitude = self.magnitudes[name].ravel()
        trained_flat = trained.astype(np.float64).ravel()

        def limit(tolerance: float, dtype: Any, where: Where, *compared: Vector) -> float:
            rounding = ROUNDINGS * float(np.finfo(dtype).eps) * _norm(magnitude[where])
            share = _ratio(rounding, max(map(_norm, compared)))
            return tolerance + (share if math.isfinite(share) else 0.0)

        own_errors = np.abs(analytic - by_complex) / np.maximum(
            np.maximum(np.abs(analytic), np.abs(by_complex)), sys.float_info.min
        )
        worst = int(np.argmax(np.where(np.isnan(own_errors), np.inf, own_errors)))
        return TensorCheck(
            name=name,
            shape=gradient.shape,
            entries=len(entries),
            complex_error=relative_error(analytic, by_complex),
            complex_limit=limit(COMPLEX_TOLERANCE, np.float64, entries, analytic, by_complex),
            # Along a random direction a slope is about ‖g‖/√size, and may be 0 by chance.
            direction_error=_ratio(
                abs(ahead - along), max(abs(along), _norm(flat) / math.sqrt(size))
            ),
            direction_limit=limit(
                COMPLEX_TOLERANCE,
                np.float64,
                slice(None),
                flat,
                np.array([along * math.sqrt(size)]),
            ),
            central_error=relative_error(flat[some][smooth], by_central),
            central_limit=CENTRAL_TOLERANCE
            + (10 * (truncation + rounding) / scale if scale else 0.0),
            central_step=step,
            slope=self._taylor_slope(name, flat, directions),
            dtype_error=relative_error(trained_flat, flat),
            dtype_limit=limit(
                DTYPE_TOLERANCE[str(trained.dtype)], trained.dtype, slice(None), trained_flat, flat
            ),
            kinks=int(np.count_nonzero(~smooth)),
            worst_index=tuple(int(i) for i in np.unravel_index(entries[worst], gradient.shape)),
            worst_analytic=float(analytic[worst]),
            worst_numeric=float(by_complex[worst]),
        )

    def _complex_slope(self, name: str, where: Where, direction: Any) -> float:
        """dL/ds at s = 0, for the tensor's entries `where` moved by s · direction."""
        entries = self.shadow.parameters[name].reshape(-1)
        entries.imag[where] = COMPLEX_STEP * direction
        value = self.shadow_loss.forward(self.shadow.forward(self.X), self.Y)
        entries.imag[where] = 0
        return float(value.imag / COMPLEX_STEP)

    def _central_slope(
        self, name: str, where: Where, direction: Any, step: float
    ) -> tuple[float, bool]:
        """(L(p + h) − L(p − h))/2h, and whether no ReLU switched on or off in between."""
        above, on_above = self._loss_at(name, where, step * direction)
        below, on_below = self._loss_at(name, where, -step * direction)
        return (above - below) / (2 * step), _same(on_above, on_below)

    def _best_central_step(self, name: str, direction: Vector) -> float:
        """The step whose slope differs least from that of its neighbours in a ladder of steps."""
        slopes = [self._central_slope(name, slice(None), direction, h)[0] for h in CENTRAL_STEPS]
        changes = np.abs(np.diff(slopes))
        together = np.where(np.isnan(changes), np.inf, changes)
        return float(CENTRAL_STEPS[1 + int(np.argmin(together[:-1] + together[1:]))])

    def _taylor_slope(self, name: str, gradient: Vector, directions: list[Vector]) -> float | None:
        """The slope of log |remainder| over log ε, at the smallest ε where rounding is no matter.

        Of several directions the best counts: a wrong gradient is wrong along nearly all of them.
        """
        best = None
        for direction in directions:
            slope = self._slope_along(name, float(gradient @ direction), direction)
            best = slope if best is None else max(best, slope or best)
            if best is not None and best >= 2 - SLOPE_TOLERANCE:
                break
        return best

    def _slope_along(self, name: str, ahead: float, direction: Vector) -> float | None:
        _, on = self._loss_at(name, slice(None), 0 * direction)
        window: list[tuple[float, float]] = []
        for epsilon, value, on_there in self._falling(name, direction):
            remainder = abs(value - self.level - epsilon * ahead)
            if remainder <= 100 * self.rounding:
                break
            if math.isfinite(remainder) and _same(on, on_there):
                window.append((math.log(epsilon), math.log(remainder)))
        if len(window) < 4:
            return None
        x, y = np.array(window[-4:]).T
        steps = np.diff(y) / np.diff(x)
        if steps[-1] > steps[0] + 0.02:  # still rising to 2 as ε falls: not yet at its limit
            return None
        return float(np.polyfit(x, y, 1)[0])

    def _falling(self, name: str, direction: Vector) -> Iterator[tuple[float, float, Any]]:
        """Yield ε = 1, ½, ¼, …, the loss there, and which units of each ReLU layer are on."""
        for power in range(40):
            epsilon = 0.5**power
            yield epsilon, *self._loss_at(name, slice(None), epsilon * direction)

    def _loss_at(self, name: str, where: Where, move: Any) -> tuple[float, list[NDArray[np.bool_]]]:
        """L with the tensor's entries `where` moved, and which units of each ReLU layer are on."""
        entries = self.network.parameters[name].reshape(-1)
        before = entries[where].copy()
        entries[where] += move
        value = self.loss.forward(self.network.forward(self.X), self.Y)
        entries[where] = before
        return value, [layer.Z > 0 for layer in self.network.layers if isinstance(layer, Relu)]


def relative_error(a: Vector, b: Vector) -> float:
    """Return ‖a − b‖/max(‖a‖, ‖b‖): 0 where both are zero, infinite for NaN."""
    return _ratio(_norm(a - b), max(_norm(a), _norm(b)))


def _ratio(error: float, scale: float) -> float:
    if scale == 0:
        return 0.0
    return error / scale if math.isfinite(error / scale) else math.inf


def _norm(a: Vector) -> float:
    """‖a‖, without overflow or underflow in the squares."""
    largest = float(np.max(np.abs(a), initial=0.0))
    if largest == 0 or not math.isfinite(largest):
        return largest
    scaled = a.ravel() / largest
    return largest * math.sqrt(scaled @ scaled)


def _unit(v: Vector) -> Vector:
    return v / _norm(v)


def _same(a: list[NDArray[np.bool_]], b: list[NDArray[np.bool_]]) -> bool:
    return all((p == q).all() for p, q in zip(a, b, strict=True))
