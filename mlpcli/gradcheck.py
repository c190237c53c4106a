"""The gradient check: analytic gradients against the complex step and central differences.

The complex step, f′(p) ≈ Im f(p + ih)/h (Squire & Trapp 1998), subtracts nothing and so is exact to
rounding for any small h. It runs through the very forward pass that trains, in complex128.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpcli import features
from mlpcli.cifar10.dataset import Dataset
from mlpcli.config import Config
from mlpcli.minibatches import Gatherer
from mlpcli.nn.activations import Relu
from mlpcli.nn.losses import LOSSES, Loss
from mlpcli.nn.network import Network

IMAGES = 8
ENTRIES = 24  # of a larger tensor, drawn at random, beside one random direction through all of it
COMPLEX_STEP = 1e-30
CENTRAL_STEP = 1e-5
COMPLEX_TOLERANCE = 1e-12
CENTRAL_TOLERANCE = 1e-5

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class TensorCheck:
    """One tensor's gradient. Errors are ‖analytic − numeric‖/max(‖analytic‖, ‖numeric‖)."""

    name: str
    shape: tuple[int, ...]
    entries: int  # checked one by one
    complex_error: float  # over these entries
    direction_error: float  # of the slope along a random direction through the whole tensor
    central_error: float  # over these entries, without those that crossed a kink
    central_limit: float  # what truncation and rounding may make of a right gradient
    kinks: int  # entries whose central difference crossed a ReLU's kink

    @property
    def passed(self) -> bool:
        return (
            max(self.complex_error, self.direction_error) <= COMPLEX_TOLERANCE
            and self.central_error <= self.central_limit
        )


def check(config: Config, dataset: Dataset) -> list[TensorCheck]:
    """Check each tensor of the configured network and loss on a few of the configured images.

    In float64, at the initial weights with biases drawn too: a bias of zero can hide an error.
    """
    train, classes = dataset.splits["train"], len(dataset.label_names)
    rng = np.random.default_rng(config.seed)
    rows = rng.choice(train.rows, min(IMAGES, len(train)), replace=False)
    fitted = features.fit(config.data.standardize, train)
    X, Y, _ = Gatherer(train, fitted, classes, len(rows), np.float64).gather(rows)

    sizes = (X.shape[1], *config.model.hidden, classes)
    network = Network(sizes, config.model.activation, len(rows), np.float64)
    network.initialize(config.model.initializer, rng)
    for name, view in network.parameters.items():
        if name.startswith("b"):
            view[...] = rng.normal(0, 0.1, view.shape)
    loss = LOSSES[config.loss](len(rows), classes, np.float64)
    return check_network(network, loss, X, Y, rng)


def check_network(
    network: Network, loss: Loss, X: Vector, Y: Vector, rng: np.random.Generator
) -> list[TensorCheck]:
    """Check the gradient of each tensor of a float64 network at its present parameters."""
    network.backward(loss.backward(network.forward(X), Y))
    checker = _Checker(network, loss, X, Y)
    gradients = {name: gradient.copy() for name, gradient in network.gradients.items()}
    return [checker.check(name, gradient, rng) for name, gradient in gradients.items()]


class _Checker:
    """A float64 network with its shadow in complex128, at the same parameters."""

    def __init__(self, network: Network, loss: Loss, X: Vector, Y: Vector) -> None:
        self.network, self.loss, self.X, self.Y = network, loss, X, Y
        self.shadow = Network(network.layer_sizes, network.activation, len(X), np.complex128)
        self.shadow.params[...] = network.params
        self.shadow_loss = type(loss)(len(X), Y.shape[1], np.complex128)

    def check(self, name: str, gradient: Vector, rng: np.random.Generator) -> TensorCheck:
        size = gradient.size
        entries = np.arange(size) if size <= ENTRIES else rng.choice(size, ENTRIES, replace=False)
        analytic = gradient.ravel()[entries]
        by_complex, by_central = np.empty(len(entries)), np.empty(len(entries))
        smooth = np.empty(len(entries), np.bool_)
        for i, k in enumerate(entries):
            by_complex[i] = self._complex_slope(name, k, 1.0)
            by_central[i], smooth[i] = self._central_slope(name, k)
        direction = rng.standard_normal(size)
        along = self._complex_slope(name, slice(None), direction)

        scale = max(_norm(analytic[smooth]), _norm(by_central[smooth]))
        return TensorCheck(
            name=name,
            shape=gradient.shape,
            entries=len(entries),
            complex_error=relative_error(analytic, by_complex),
            direction_error=relative_error(
                np.array([gradient.ravel() @ direction]), np.array([along])
            ),
            central_error=relative_error(analytic[smooth], by_central[smooth]),
            central_limit=CENTRAL_TOLERANCE
            + (self._rounding() * math.sqrt(len(analytic)) / scale if scale else 0.0),
            kinks=int(np.count_nonzero(~smooth)),
        )

    def _complex_slope(self, name: str, where: Any, direction: Any) -> float:
        """dL/ds at s = 0, for the tensor's entries `where` moved by s · direction."""
        entries = self.shadow.parameters[name].reshape(-1)
        entries.imag[where] = COMPLEX_STEP * direction
        value = self.shadow_loss.forward(self.shadow.forward(self.X), self.Y)
        entries.imag[where] = 0
        return value.imag / COMPLEX_STEP

    def _central_slope(self, name: str, k: int) -> tuple[float, bool]:
        """(L(p + h) − L(p − h))/2h, and whether no ReLU switched on or off in between."""
        entries = self.network.parameters[name].reshape(-1)
        before = entries[k]
        entries[k] = before + CENTRAL_STEP
        above, on_above = self._loss()
        entries[k] = before - CENTRAL_STEP
        below, on_below = self._loss()
        entries[k] = before
        smooth = all((a == b).all() for a, b in zip(on_above, on_below, strict=True))
        return (above - below) / (2 * CENTRAL_STEP), smooth

    def _loss(self) -> tuple[float, list[NDArray[np.bool_]]]:
        """L, and which units of each ReLU layer are on."""
        value = self.loss.forward(self.network.forward(self.X), self.Y)
        return value, [layer.Z > 0 for layer in self.network.layers if isinstance(layer, Relu)]

    def _rounding(self) -> float:
        """What rounding L twice does to its central difference, however small the gradient is."""
        return 10 * sys.float_info.epsilon * abs(self._loss()[0]) / CENTRAL_STEP


def relative_error(a: Vector, b: Vector) -> float:
    """Return ‖a − b‖/max(‖a‖, ‖b‖): 0 where both are zero, infinite for NaN."""
    scale = max(_norm(a), _norm(b))
    if scale == 0:
        return 0.0
    error = _norm(a - b) / scale
    return error if math.isfinite(error) else math.inf


def _norm(a: Vector) -> float:
    return math.sqrt(a @ a)
