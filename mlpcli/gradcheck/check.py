"""The gradient check: the gradients that train, judged tensor by tensor in three ways.

- The complex step is exact to rounding. It runs through the very forward pass that trains, in
  complex128.
- Central differences have a step chosen for each tensor.
- The slope of the Taylor remainder needs no tolerance.

Beside them, the gradient in the training dtype is compared with the one in float64.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpcli.config.settings import Config
from mlpcli.data import features
from mlpcli.data.dataset import Dataset
from mlpcli.gradcheck.diagnosis import Diagnosis, magnitudes
from mlpcli.gradcheck.numerical import (
    SLOPE_TOLERANCE,
    Derivatives,
    Vector,
    Where,
    norm,
    ratio,
    relative_error,
)
from mlpcli.nn.model import Model

IMAGES = 8
EVERY_ENTRY_BELOW = 2048  # parameters: a smaller network is checked entry by entry
ENTRIES = 24  # of each tensor of a larger one, beside random directions through the whole tensor
CENTRAL_ENTRIES = 8  # of these, by central differences too, which are weaker and cost more

COMPLEX_TOLERANCE = 1e-12
CENTRAL_TOLERANCE = 1e-6
DTYPE_TOLERANCE = {"float32": 1e-4, "float64": 1e-12}
ROUNDINGS = 4  # units in the last place, of each sum that makes a gradient
DIRECTIONS = 3  # before a slope below 2 counts: along one, the curvature may vanish by chance

IN_TRAINING_DTYPE = "training dtype"


@dataclass(frozen=True)
class Comparison:
    """Of two gradients, the error ‖a − b‖/max(‖a‖, ‖b‖) and the most that rounding may make.

    It is normwise, so a tiny gradient is judged as a large one is. The limit is a tolerance and
    what rounding does to a right gradient; the latter counts only where nearly all of it cancels,
    as at a network that has learned its batch by heart.
    """

    error: float
    limit: float

    @property
    def failed(self) -> bool:
        return self.error > self.limit


@dataclass(frozen=True)
class EntryComparison(Comparison):
    """With the complex step, over single entries, of which one has the largest error of its own."""

    entries: int
    worst_index: tuple[int, ...]
    worst_analytic: float
    worst_numeric: float


@dataclass(frozen=True)
class CentralComparison(Comparison):
    """With central differences, over a few entries, without those that crossed a ReLU's kink."""

    step: float
    kinks: int


@dataclass(frozen=True)
class TensorCheck:
    """What was found of one tensor's gradient."""

    name: str
    shape: tuple[int, ...]
    complex_step: EntryComparison
    direction: Comparison  # with the complex step along a random direction through the tensor
    central: CentralComparison
    slope: float | None  # of the Taylor remainder; None where rounding hides its limit
    training_dtype: Comparison  # of the gradient that trains with the one in float64
    reason: str | None = None  # of a wrong gradient, the likely one

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def failures(self) -> tuple[str, ...]:
        """The verdicts that went against this gradient."""
        found = {
            "complex step": self.complex_step.failed,
            "direction": self.direction.failed,
            "central differences": self.central.failed,
            "Taylor slope": self.slope is not None and self.slope < 2 - SLOPE_TOLERANCE,
            IN_TRAINING_DTYPE: self.training_dtype.failed,
        }
        return tuple(name for name, failed in found.items() if failed)

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def conclusive(self) -> bool:
        """False where rounding is as large as the gradient itself, so that nothing is shown."""
        return self.complex_step.limit < 0.1


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
    """A model in the training dtype, the same model in float64 at the same point, and a batch.

    X (B, D) and Y (B, K) are those of the training dtype, held in float64: nothing differs but
    arithmetic.
    """

    model: Model
    training_model: Model
    X: Vector
    Y: Vector


def check(
    config: Config,
    dataset: Dataset,
    saved: Model | None = None,
    flaw: Callable[[Model], None] | None = None,
    status: Callable[[str], None] = lambda text: None,
) -> Report:
    """Check the configured network and loss on a few of the configured training images.

    At initial weights, with biases drawn too, since a bias of zero can hide an error; or at a saved
    model on pixels, made for at least IMAGES examples. `flaw` breaks the gradient first. `status`
    is told what is being done.
    """
    rng = np.random.default_rng(config.seed)
    train, classes = dataset.splits["train"], len(dataset.label_names)
    rows = rng.choice(train.rows, min(IMAGES, len(train)), replace=False)
    dtype = np.dtype(config.training.dtype)
    status("fitting the features")
    fitted = features.PLAIN if saved else features.fit(config.features, train)
    X = fitted.apply(train.images[rows], dtype)
    Y = np.eye(classes, dtype=dtype)[train.labels[rows]]

    model = saved
    if model is None:
        sizes = config.model.layer_sizes(X.shape[1], classes)
        model = Model(sizes, config.model.activation, config.loss, len(rows), dtype)
        model.network.initialize(config.model.initializer, rng)
        for name, view in model.network.named_params.items():
            if name.startswith("b"):
                view[...] = rng.normal(0, 0.1, view.shape)
    return check_problem(make_problem(model, X, Y, flaw), rng, status)


def make_problem(
    training_model: Model,
    X: NDArray[Any],
    Y: NDArray[Any],
    flaw: Callable[[Model], None] | None = None,
) -> Problem:
    """Return the problem of a model in the training dtype, with the flaw, if any, in it."""
    model = training_model.in_dtype(np.float64, len(X))
    if flaw is not None:
        flaw(model)
        flaw(training_model)
    return Problem(model, training_model, X.astype(np.float64), Y.astype(np.float64))


@np.errstate(all="ignore")  # what is not finite is named in the report
def check_problem(
    problem: Problem,
    rng: np.random.Generator,
    status: Callable[[str], None] = lambda text: None,
) -> Report:
    """Check every tensor of the problem's model at its present parameters."""
    model, X, Y = problem.model, problem.X, problem.Y
    network = model.network
    model.backward(model.forward(X), Y)
    gradients = {name: gradient.copy() for name, gradient in network.named_grads.items()}

    training_model = problem.training_model
    dtype = training_model.network.params.dtype
    targets = Y.astype(dtype)
    training_model.backward(training_model.forward(X.astype(dtype)), targets)
    in_training_dtype = training_model.network.named_grads

    checker = _Checker(model, X, Y, rng)
    tensors: list[TensorCheck] = []
    for name, gradient in gradients.items():
        status(f"checking {name}, {len(tensors) + 1} of {len(gradients)} tensors")
        tensors.append(checker.check(name, gradient, in_training_dtype[name]))
    if not all(tensor.passed for tensor in tensors):
        status("finding the likely reason")
        diagnosis = Diagnosis(model, X, Y)
        tensors = [_with_reason(tensor, gradients[tensor.name], diagnosis) for tensor in tensors]

    g, loss = np.concatenate([g.ravel() for g in gradients.values()]), checker.derivatives.level
    step = 1e-3 * loss / (g @ g) if g.any() else 0.0
    before = network.params.copy()
    for name, gradient in gradients.items():
        network.named_params[name][...] -= step * gradient
    after = model.loss(model.forward(X), Y)
    network.params[...] = before
    return Report(tensors, loss, after)


def _with_reason(tensor: TensorCheck, gradient: Vector, diagnosis: Diagnosis) -> TensorCheck:
    if tensor.passed:
        return tensor
    if tensor.failures == (IN_TRAINING_DTYPE,):
        reason = "right in float64: the arithmetic of the training dtype is at fault"
    else:
        reason = diagnosis.explain(tensor.name, gradient)
    return dataclasses.replace(tensor, reason=reason)


class _Checker:
    """Compares the gradients of a float64 model with its numerical derivatives."""

    def __init__(self, model: Model, X: Vector, Y: Vector, rng: np.random.Generator) -> None:
        self.derivatives, self.rng = Derivatives(model, X, Y), rng
        self.every_entry = model.network.params.size <= EVERY_ENTRY_BELOW
        self.magnitudes = magnitudes(model, X)

    def check(self, name: str, gradient: Vector, in_training_dtype: NDArray[Any]) -> TensorCheck:
        size, flat = gradient.size, gradient.ravel()
        every = self.every_entry or size <= ENTRIES
        entries = np.arange(size) if every else self.rng.choice(size, ENTRIES, replace=False)
        directions = [_unit(self.rng.standard_normal(size)) for _ in range(DIRECTIONS)]
        trained, dtype = in_training_dtype.astype(np.float64).ravel(), in_training_dtype.dtype
        return TensorCheck(
            name=name,
            shape=gradient.shape,
            complex_step=self._entries(name, gradient, entries),
            direction=self._direction(name, flat, directions[0]),
            central=self._central(name, flat, entries, directions[0]),
            slope=self.derivatives.taylor_slope(name, flat, directions),
            training_dtype=Comparison(
                relative_error(trained, flat),
                self._limit(name, DTYPE_TOLERANCE[str(dtype)], dtype, slice(None), trained, flat),
            ),
        )

    def _entries(self, name: str, gradient: Vector, entries: NDArray[np.intp]) -> EntryComparison:
        """Compare single entries with the complex step."""
        analytic = gradient.ravel()[entries]
        numeric = np.array([self.derivatives.complex_step(name, k, 1.0) for k in entries])
        larger = np.maximum(np.abs(analytic), np.abs(numeric))
        own_errors = np.abs(analytic - numeric) / np.maximum(larger, sys.float_info.min)
        worst = int(np.argmax(np.where(np.isnan(own_errors), np.inf, own_errors)))
        return EntryComparison(
            relative_error(analytic, numeric),
            self._limit(name, COMPLEX_TOLERANCE, np.float64, entries, analytic, numeric),
            entries=len(entries),
            worst_index=tuple(int(i) for i in np.unravel_index(entries[worst], gradient.shape)),
            worst_analytic=float(analytic[worst]),
            worst_numeric=float(numeric[worst]),
        )

    def _direction(self, name: str, flat: Vector, direction: Vector) -> Comparison:
        """Compare the whole tensor, along one direction, with the complex step."""
        numeric = self.derivatives.complex_step(name, slice(None), direction)
        # Along a random direction a slope is about ‖g‖/√size, and may be 0 by chance.
        root = math.sqrt(flat.size)
        scale = max(abs(numeric), norm(flat) / root)
        compared = (flat, np.array([numeric * root]))
        return Comparison(
            ratio(abs(float(flat @ direction) - numeric), scale),
            self._limit(name, COMPLEX_TOLERANCE, np.float64, slice(None), *compared),
        )

    def _central(
        self, name: str, flat: Vector, entries: NDArray[np.intp], direction: Vector
    ) -> CentralComparison:
        """Compare a few entries with central differences."""
        central = self.derivatives.central
        step = self.derivatives.best_central_step(name, direction)
        some = self.rng.choice(entries, min(CENTRAL_ENTRIES, len(entries)), replace=False)
        found = [(central(name, k, 1.0, step), central(name, k, 1.0, 2 * step)) for k in some]
        smooth = np.array([a[1] and b[1] for a, b in found])
        numeric, wider = (np.array([pair[i][0] for pair in found])[smooth] for i in (0, 1))
        analytic = flat[some][smooth]
        # Truncation grows as the square of the step, so twice the step tells how large it is.
        truncation = norm(wider - numeric) / 3
        rounding = self.derivatives.rounding / step * math.sqrt(len(some))
        return CentralComparison(
            relative_error(analytic, numeric),
            CENTRAL_TOLERANCE
            + ratio(10 * (truncation + rounding), max(norm(analytic), norm(numeric))),
            step=step,
            kinks=int(np.count_nonzero(~smooth)),
        )

    def _limit(
        self, name: str, tolerance: float, dtype: Any, where: Where, *compared: Vector
    ) -> float:
        """Return the error of a right gradient: a tolerance, and what rounding can amount to."""
        magnitude = self.magnitudes[name].ravel()[where]
        rounding = ROUNDINGS * float(np.finfo(dtype).eps) * norm(magnitude)
        share = ratio(rounding, max(map(norm, compared)))
        return tolerance + (share if math.isfinite(share) else 0.0)


def _unit(v: Vector) -> Vector:
    return v / norm(v)
