"""The gradient check: the gradients of a model's backward pass against its own forward pass.

- The complex step is exact to rounding, on single entries and along a direction through a tensor.
- Central differences have a step chosen for each tensor.
- The slope of the Taylor remainder needs no tolerance.

All three differentiate the one forward pass. The complex step runs it in complex128, and does not
see what a branch on the real part hides; differences run it in float64. The gradient in the
training dtype is compared with the one in float64.

This is done at the weights to be checked. Weights so large that units saturate can refute a
gradient too, but confirm none.
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
from mlpcli.data.dataset import Dataset, Split
from mlpcli.errors import CheckpointError
from mlpcli.gradcheck.diagnosis import Diagnosis
from mlpcli.gradcheck.numerical import SLOPE_TOLERANCE, Derivatives, Vector, Where, norm, ratio
from mlpcli.gradcheck.passes import REPEATS, Flaw, Pass, Weights
from mlpcli.gradcheck.reference import Gradients
from mlpcli.nn.model import Model

EVERY_ENTRY_BELOW = 2048  # parameters: a smaller network is checked entry by entry
ENTRIES = 24  # of each tensor of a larger one, beside random directions through the whole tensor
CENTRAL_ENTRIES = 8  # of these, by central differences too, which are weaker and cost more

COMPLEX_TOLERANCE = 1e-12
CENTRAL_TOLERANCE = 1e-6
DTYPE_TOLERANCE = {"float32": 2e-6, "float64": 1e-12}
ROUNDINGS = 16  # how far a right gradient may be off, in units of its estimated rounding error
CONCLUSIVE = 1e-2  # a limit above this confirms nothing
DIRECTIONS = 3  # before a slope below 2 counts: along one, the curvature may vanish by chance

IN_TRAINING_DTYPE = "training dtype"
REPEATED = "repeated"

Status = Callable[[str], None]
Rounding = Callable[[], float]  # the most that rounding can make of a difference


@dataclass(frozen=True)
class Comparison:
    """Of two gradients, the error ‖a − b‖/max(‖a‖, ‖b‖) and the most that a right one may have.

    `passed` is False where the error is above the limit. It is None where the comparison shows
    nothing: both gradients are 0 though they are sums of what is not, with no error then, or
    rounding alone may be as large as an error that matters. `batch` says where the error was found.
    """

    error: float | None
    limit: float
    passed: bool | None
    batch: str


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
    """What was found of one tensor's gradient.

    Of several batches, `direction` and `training_dtype` hold the largest error in its limit.
    """

    name: str
    shape: tuple[int, ...]
    complex_step: EntryComparison
    direction: Comparison  # with the complex step along a random direction through the tensor
    central: CentralComparison
    slope: float | None  # of the Taylor remainder; None where rounding hides its limit
    training_dtype: Comparison  # of the gradient in the training dtype with the one in float64
    repeated: Comparison  # of the gradient in the training dtype with itself, computed again
    reason: str | None = None  # of a wrong gradient, the likely one

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def failures(self) -> tuple[str, ...]:
        """The verdicts that went against this gradient."""
        found = {
            "complex step": self.complex_step.passed is False,
            "direction": self.direction.passed is False,
            "central differences": self.central.passed is False,
            "Taylor slope": self.slope is not None and abs(self.slope - 1) < SLOPE_TOLERANCE,
            IN_TRAINING_DTYPE: self.training_dtype.passed is False,
            REPEATED: self.repeated.passed is False,
        }
        return tuple(name for name, failed in found.items() if failed)

    @property
    def passed(self) -> bool | None:
        """False if a verdict is against it; True if float64 and the training dtype are confirmed.

        None if it is neither: the check is inconclusive.
        """
        if self.failures:
            return False
        exact = self.complex_step.passed or self.direction.passed
        return True if exact and self.training_dtype.passed else None


@dataclass(frozen=True)
class Report:
    """The checks of all tensors, and what one small step against the gradient does to the loss."""

    tensors: list[TensorCheck]
    loss: float
    loss_after_step: float

    @property
    def passed(self) -> bool | None:
        """False if a tensor's gradient is wrong, True if all are right, None if inconclusive."""
        verdicts = {tensor.passed for tensor in self.tensors}
        return False if False in verdicts else None if None in verdicts else True


def check(
    config: Config,
    dataset: Dataset,
    params: NDArray[Any] | None = None,
    *,
    on_pixels: bool = False,
    flaw: Flaw | None = None,
    status: Status = lambda text: None,
) -> Report:
    """Check the configured network and loss on a batch of the configured training images.

    At initial weights, with biases drawn too, since a bias of zero can hide an error; or at saved
    ones, as `Network.params` holds them, for the configured features or, folded, for pixels.
    `flaw` breaks the gradient first. `status` is told what is being done. Raises CheckpointError
    where the parameters are not as many as the network has.
    """
    rng = np.random.default_rng(config.seed)
    train, classes = dataset.splits["train"], len(dataset.label_names)
    batch_size = max(config.training.batch_size, classes)  # with fewer, a class would be missing
    dtype = np.dtype(config.training.dtype)
    rows = _rows_of_every_class(train, batch_size, rng)
    status("fitting the features")
    fitted = features.PLAIN if on_pixels else features.fit(config.features, train)
    X = fitted.apply(train.images[rows], dtype)
    Y = np.eye(classes, dtype=dtype)[train.labels[rows]]

    sizes = config.model.layer_sizes(X.shape[1], classes)
    model = Model(sizes, config.model.activation, config.loss, batch_size, dtype)
    network = model.network
    if params is None:
        network.initialize(config.model.initializer, rng)
        for name, view in network.named_params.items():
            if name.startswith("b"):
                view[...] = rng.normal(0, 0.1, view.shape)
    elif params.shape == network.params.shape:
        network.params[...] = params
    else:
        found, expected = params.size, network.params.size
        raise CheckpointError(f"found {found:,} saved parameters, expected {expected:,}")
    return check_model(model, X, Y, rng, flaw=flaw, status=status)


def _rows_of_every_class(train: Split, count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return `count` random rows, or all if they are fewer: one of each class, and any others."""
    rows = rng.permutation(train.rows)
    _, first = np.unique(train.labels[rows], return_index=True)
    rest = np.delete(rows, first)
    return rng.permutation(np.concatenate([rows[first], rest])[:count])


@np.errstate(all="ignore")  # what is not finite is named in the report
def check_model(
    model: Model,
    X: NDArray[Any],
    Y: NDArray[Any],
    rng: np.random.Generator,
    *,
    flaw: Flaw | None = None,
    status: Status = lambda text: None,
) -> Report:
    """Check every tensor of a model in the training dtype, on X (n, D) and Y (n, K) of that dtype.

    n is at most the model's batch size. The model itself is not changed: `flaw` is put into copies.
    """
    status("taking the gradients")
    weights = Weights(model, (X, Y), rng, flaw)
    passes = weights.passes()
    repeated = weights.repeated(passes[1])  # a short one, for its time
    passes += Weights(model, (X, Y), rng, flaw, are_large=True).passes()
    checker = _Checker(model, passes, repeated, rng)
    names, tensors = list(model.network.named_params), []
    for i, name in enumerate(names, start=1):
        status(f"checking {name}, {i} of {len(names)} tensors")
        tensors.append(checker.check(name))
    if any(tensor.failures for tensor in tensors):
        status("finding the likely reason")
        tensors = [checker.with_reason(tensor) for tensor in tensors]
    return Report(tensors, *weights.losses_around_a_step(passes[0].gradients))


class _Checker:
    """Compares the gradients of a model's passes with numerical derivatives."""

    def __init__(
        self, model: Model, passes: list[Pass], repeated: Gradients, rng: np.random.Generator
    ) -> None:
        self.passes, self.repeated, self.rng = passes, repeated, rng
        self.dtype, self.diagnoses = model.network.params.dtype, dict[str, Diagnosis]()
        self.short = passes[1]  # cheap enough for single entries
        self.every_entry = model.network.params.size <= EVERY_ENTRY_BELOW

    def check(self, name: str) -> TensorCheck:
        """Return what is found of the gradient of one tensor."""
        gradient = self.short.gradients[name]
        size = gradient.size
        every = self.every_entry or size <= ENTRIES
        entries = np.arange(size) if every else self.rng.choice(size, ENTRIES, replace=False)
        directions = [_unit(self.rng.standard_normal(size)) for _ in range(DIRECTIONS)]
        return TensorCheck(
            name=name,
            shape=gradient.shape,
            complex_step=self._entries(name, entries),
            direction=self._direction(name, directions[0]),
            central=self._central(name, entries, directions[0]),
            slope=self.short.derivatives.taylor_slope(name, gradient.ravel(), directions),
            training_dtype=self._training_dtype(name),
            repeated=self._repeated(name),
        )

    def _entries(self, name: str, entries: NDArray[np.intp]) -> EntryComparison:
        """Compare single entries with the complex step."""
        gradient, derivatives = self.short.gradients[name], self.short.derivatives
        analytic = gradient.ravel()[entries]
        numeric = np.array([derivatives.complex_step(name, k, 1.0) for k in entries])
        larger = np.maximum(np.abs(analytic), np.abs(numeric))
        own_errors = np.abs(analytic - numeric) / np.maximum(larger, sys.float_info.min)
        worst = int(np.argmax(np.where(np.isnan(own_errors), np.inf, own_errors)))
        rounding = self._rounding(self.short, name, np.float64, entries)
        return EntryComparison(
            **vars(_compare(analytic, numeric, COMPLEX_TOLERANCE, rounding, self.short.batch)),
            entries=len(entries),
            worst_index=tuple(int(i) for i in np.unravel_index(entries[worst], gradient.shape)),
            worst_analytic=float(analytic[worst]),
            worst_numeric=float(numeric[worst]),
        )

    def _direction(self, name: str, direction: Vector) -> Comparison:
        """Compare the whole tensor, along one direction, with the complex step, in every pass."""
        # Along a random direction a slope is about ‖g‖/√size, and may be 0 by chance.
        root, slopes = math.sqrt(direction.size), dict[Derivatives, float]()
        found = []
        for p in self.passes:
            if p.derivatives not in slopes:
                step = p.derivatives.complex_step(name, slice(None), direction)
                slopes[p.derivatives] = step * root
            flat, numeric = p.gradients[name].ravel(), slopes[p.derivatives]
            error = abs(float(flat @ direction) * root - numeric)
            scale = max(abs(numeric), norm(flat))
            rounding = self._rounding(p, name, np.float64)
            found.append(_verdict(error, scale, COMPLEX_TOLERANCE, rounding, p.batch))
        return self._together(found)

    def _central(
        self, name: str, entries: NDArray[np.intp], direction: Vector
    ) -> CentralComparison:
        """Compare a few entries with central differences."""
        derivatives = self.short.derivatives
        central, step = derivatives.central, derivatives.best_central_step(name, direction)
        some = self.rng.choice(entries, min(CENTRAL_ENTRIES, len(entries)), replace=False)
        found = [(central(name, k, 1.0, step), central(name, k, 1.0, 2 * step)) for k in some]
        smooth = np.array([a[1] and b[1] for a, b in found])
        numeric, wider = (np.array([pair[i][0] for pair in found])[smooth] for i in (0, 1))
        analytic = self.short.gradients[name].ravel()[some][smooth]
        # Truncation grows as the square of the step, so twice the step tells how large it is.
        truncation = norm(wider - numeric) / 3
        rounding = derivatives.rounding / step * math.sqrt(len(some))
        most = 10 * (truncation + rounding)
        return CentralComparison(
            **vars(_compare(analytic, numeric, CENTRAL_TOLERANCE, lambda: most, self.short.batch)),
            step=step,
            kinks=int(np.count_nonzero(~smooth)),
        )

    def _training_dtype(self, name: str) -> Comparison:
        """Compare the gradient in the training dtype with the one in float64, in every pass."""
        found = []
        for p in self.passes:
            rounding = self._rounding(p, name, self.dtype)
            if p.crosses_kinks:
                rounding = _unlimited
            a, b = p.in_training_dtype[name], p.gradients[name]
            found.append(_compare(a, b, DTYPE_TOLERANCE[str(self.dtype)], rounding, p.batch))
        return self._together(found)

    def _repeated(self, name: str) -> Comparison:
        """Compare the gradient in the training dtype with the same, computed again."""
        a, b = self.short.in_training_dtype[name], self.repeated[name]
        rounding = self._rounding(self.short, name, self.dtype)
        return _compare(a, b, DTYPE_TOLERANCE[str(self.dtype)], rounding, self.short.batch)

    def _together(self, found: list[Comparison]) -> Comparison:
        """Return the first that failed; else the one nearest its limit.

        It has passed if one of those at the weights to be checked has: the large ones only refute.
        """
        for comparison in found:
            if comparison.passed is False:
                return comparison
        at_weights = [c for c, p in zip(found, self.passes, strict=True) if not p.is_saturated]
        passed = any(comparison.passed for comparison in at_weights)
        shown = found if passed else at_weights
        nearest = max(shown, key=lambda c: ratio(c.error or 0.0, c.limit))
        return dataclasses.replace(nearest, passed=passed or None)

    def _rounding(self, p: Pass, name: str, dtype: Any, where: Where = slice(None)) -> Rounding:
        """Return how to find the most that rounding can make of a gradient's entries in a dtype."""
        precision = ROUNDINGS * float(np.finfo(dtype).eps)
        return lambda: precision * norm(p.rounding()[name].ravel()[where])

    def with_reason(self, tensor: TensorCheck) -> TensorCheck:
        """Add the likely reason of a wrong gradient, found in the first pass that shows it."""
        if not tensor.failures:
            return tensor
        exact = (tensor.direction, tensor.complex_step, tensor.central)
        failed = [comparison.batch for comparison in exact if comparison.passed is False]
        if tensor.failures == (REPEATED,):
            batch, reason = tensor.repeated.batch, f"one of {REPEATS} gradients of a batch differs"
        elif not failed and tensor.training_dtype.passed is False:
            batch = tensor.training_dtype.batch
            reason = "right in float64: the arithmetic of the training dtype is at fault"
        else:
            batch = failed[0] if failed else self.short.batch
            reason = self._diagnose(tensor.name, batch)
        where = "" if batch == self.passes[0].batch else f" ({batch})"
        return dataclasses.replace(tensor, reason=reason + where)

    def _diagnose(self, name: str, batch: str) -> str:
        p = next(p for p in self.passes if p.batch == batch)
        if batch not in self.diagnoses:
            model = p.derivatives.model
            self.diagnoses[batch] = Diagnosis(model, p.derivatives.X, p.derivatives.Y)
        return self.diagnoses[batch].explain(name, p.gradients[name])


def _compare(a: Vector, b: Vector, tolerance: float, rounding: Rounding, batch: str) -> Comparison:
    return _verdict(norm(a - b), max(norm(a), norm(b)), tolerance, rounding, batch)


def _verdict(
    error: float, scale: float, tolerance: float, rounding: Rounding, batch: str
) -> Comparison:
    """Judge a difference beside the size of what is compared; rounding alone may make some of it.

    What agrees to within the tolerance is confirmed, whatever rounding might have done.
    """
    relative = ratio(error, scale)
    if relative <= tolerance and scale > 0:
        return Comparison(relative, tolerance, True, batch)
    most = rounding()
    if scale == 0:
        return Comparison(None if most else 0.0, tolerance, None if most else True, batch)
    # Where the scale is NaN no rounding excuses the difference.
    limit = tolerance if math.isnan(scale) else tolerance + ratio(most, scale)
    passed = False if relative > limit else True if limit <= CONCLUSIVE else None
    return Comparison(relative, limit, passed, batch)


def _unlimited() -> float:
    return math.inf


def _unit(v: Vector) -> Vector:
    return v / norm(v)
