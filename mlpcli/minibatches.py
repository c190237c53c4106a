"""Minibatches: which rows come next, and their images gathered into buffers made once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mlpcli.cifar10.dataset import Split
from mlpcli.features import CHUNK, Components, Features, Standardized
from mlpcli.warps import Warps

Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]

GROUP = 16  # images of a batch that are moved alike: one product of matrices


class Draw(NamedTuple):
    """Which images a batch is made of, and how each is varied."""

    rows: Rows  # (B,)
    mirrored: Mask | None = None  # (B,)
    warps: Rows | None = None  # one for each GROUP of the batch


class Batch(NamedTuple):
    """Views of the gatherer's buffers, valid until the next batch."""

    inputs: NDArray[Any]  # (B, D), what the first layer sees
    targets: NDArray[Any]  # (B, K), one-hot
    labels: Rows  # (B,)


class Inputs(Protocol):
    """What the first layer sees of a set of images."""

    def gather(self, draw: Draw) -> NDArray[Any]:
        """Return the inputs (B, D) of the drawn images, valid until the next call."""


class PixelInputs:
    """Standardized pixels, made anew from the uint8 images for each batch."""

    def __init__(
        self,
        images: NDArray[np.uint8],
        features: Standardized,
        batch_size: int,
        dtype: DTypeLike,
    ) -> None:
        self._images = images
        self._scale = (features.scale / 255).astype(dtype)
        self._shift = features.shift.astype(dtype)
        self._pixels = np.empty((batch_size, 3072), np.uint8)
        self._X = np.empty((batch_size, 3072), dtype)

    def gather(self, draw: Draw) -> NDArray[Any]:
        n = len(draw.rows)
        # mode="clip" writes straight to out; the default would fill a whole batch of its own first.
        pixels = np.take(self._images, draw.rows, axis=0, out=self._pixels[:n], mode="clip")
        if draw.mirrored is not None:
            lines = pixels.reshape(n, 96, 32)
            for i in np.flatnonzero(draw.mirrored):
                lines[i] = lines[i, :, ::-1]
        X = np.multiply(pixels, self._scale, out=self._X[:n])
        X += self._shift
        return X


class ComponentInputs:
    """Principal components, projected once; a mirrored image is a change of signs."""

    def __init__(
        self,
        images: NDArray[np.uint8],
        features: Components,
        batch_size: int,
        dtype: DTypeLike,
        warps: Warps | None = None,
    ) -> None:
        self._projected = project(images, features, dtype)
        self._signs = np.stack([np.ones(features.size), features.parity]).astype(dtype)
        self._warps = warps
        self._X, self._Z = np.empty((2, batch_size, features.size), dtype)

    def gather(self, draw: Draw) -> NDArray[Any]:
        n = len(draw.rows)
        X, Z = self._X[:n], self._Z[:n]
        np.take(self._projected, draw.rows, axis=0, out=X, mode="clip")
        if draw.mirrored is not None:
            X *= np.take(self._signs, draw.mirrored, axis=0, out=Z, mode="clip")
        if draw.warps is None or self._warps is None:
            return X
        for start, warp in zip(range(0, n, GROUP), draw.warps, strict=True):
            group = slice(start, start + GROUP)
            np.dot(X[group], self._warps.matrices[warp], out=Z[group])
            Z[group] += self._warps.offsets[warp]
        return Z


def inputs_of(
    images: NDArray[np.uint8],
    features: Features,
    batch_size: int,
    dtype: DTypeLike,
    warps: Warps | None = None,
) -> Inputs:
    """Return the inputs that these features make of the images, a batch at a time."""
    if isinstance(features, Components):
        return ComponentInputs(images, features, batch_size, dtype, warps)
    return PixelInputs(images, features, batch_size, dtype)


def project(
    images: NDArray[np.uint8], features: Components, dtype: DTypeLike = np.float64
) -> NDArray[Any]:
    """Return the features (N, k) of uint8 images (N, 3072)."""
    matrix = (features.basis * features.scale / 255).astype(dtype)
    shift = -(features.mean @ features.basis) * features.scale
    projected = np.empty((len(images), features.size), dtype)
    pixels = np.empty((CHUNK, 3072), dtype)
    for start in range(0, len(images), CHUNK):
        part = images[start : start + CHUNK]
        pixels[: len(part)] = part
        np.dot(pixels[: len(part)], matrix, out=projected[start : start + CHUNK])
    projected += shift.astype(dtype)
    return projected


class Gatherer:
    """Gathers rows of a split: inputs, and from labels one-hot targets."""

    def __init__(
        self, split: Split, inputs: Inputs, classes: int, batch_size: int, dtype: DTypeLike
    ) -> None:
        self.split, self.batch_size = split, batch_size
        self._inputs = inputs
        self._one_hot = np.eye(classes, dtype=dtype)
        self._targets = np.empty((batch_size, classes), dtype)
        self._labels = np.empty(batch_size, np.intp)

    def gather(self, draw: Draw) -> Batch:
        """Return the batch of the drawn rows."""
        n = len(draw.rows)
        labels = np.take(self.split.labels, draw.rows, out=self._labels[:n], mode="clip")
        targets = np.take(self._one_hot, labels, axis=0, out=self._targets[:n], mode="clip")
        return Batch(self._inputs.gather(draw), targets, labels)

    def in_order(self) -> Iterator[Batch]:
        """Yield the whole split in its own order."""
        rows, size = self.split.rows, self.batch_size
        for start in range(0, len(rows), size):
            yield self.gather(Draw(rows[start : start + size]))


class Shuffler:
    """The order of an epoch, as draws of `batch_size` rows with a short last one.

    `warps` is how many there are to choose from. `order` and `position` with the generator's state
    are all that a resumed epoch needs.
    """

    def __init__(
        self,
        rows: Rows,
        batch_size: int,
        *,
        flips: bool,
        warps: int = 0,
        rng: np.random.Generator,
    ) -> None:
        self.order, self.position = rows.copy(), 0
        self.batch_size, self.warps, self.rng = batch_size, warps, rng
        self._draws = np.empty(batch_size) if flips else None

    def __len__(self) -> int:
        """Batches in an epoch."""
        return math.ceil(len(self.order) / self.batch_size)

    def __iter__(self) -> Iterator[Draw]:
        """Yield what is left of the epoch; the next one starts with a new permutation."""
        if self.position == 0:
            self.rng.shuffle(self.order)
        while self.position < len(self.order):
            rows = self.order[self.position : self.position + self.batch_size]
            mirrored = warps = None
            if self._draws is not None:
                mirrored = self.rng.random(out=self._draws)[: len(rows)] < 0.5
            if self.warps:
                warps = self.rng.integers(self.warps, size=math.ceil(len(rows) / GROUP))
            self.position += len(rows)  # a batch counts as done once it is handed out
            yield Draw(rows, mirrored, warps)
        self.position = 0
