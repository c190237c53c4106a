"""Minibatches: which rows come next, and their images gathered into buffers made once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mlpcli.cifar10.dataset import Split
from mlpcli.features import Features

Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]


class Batch(NamedTuple):
    """Views of the gatherer's buffers, valid until the next batch."""

    inputs: NDArray[Any]  # (B, 3072), what the first layer sees
    targets: NDArray[Any]  # (B, K), one-hot
    labels: Rows  # (B,)


class Gatherer:
    """Gathers rows of a split: from uint8 pixels to inputs, from labels to one-hot targets."""

    def __init__(
        self, split: Split, features: Features, classes: int, batch_size: int, dtype: DTypeLike
    ) -> None:
        self.split = split
        self._scale = (features.scale / 255).astype(dtype)
        self._shift = features.shift.astype(dtype)
        self._one_hot = np.eye(classes, dtype=dtype)
        self._pixels = np.empty((batch_size, 3072), np.uint8)
        self._inputs = np.empty((batch_size, 3072), dtype)
        self._targets = np.empty((batch_size, classes), dtype)
        self._labels = np.empty(batch_size, np.intp)

    def gather(self, rows: Rows, mirrored: Mask | None = None) -> Batch:
        """Return the batch of `rows`; images where `mirrored` is true are turned left to right."""
        n = len(rows)
        # mode="clip" writes straight to out; the default would fill a whole batch of its own first.
        pixels = np.take(self.split.images, rows, axis=0, out=self._pixels[:n], mode="clip")
        labels = np.take(self.split.labels, rows, out=self._labels[:n], mode="clip")
        if mirrored is not None:
            lines = pixels.reshape(n, 96, 32)
            for i in np.flatnonzero(mirrored):
                lines[i] = lines[i, :, ::-1]
        inputs = np.multiply(pixels, self._scale, out=self._inputs[:n])
        inputs += self._shift
        targets = np.take(self._one_hot, labels, axis=0, out=self._targets[:n], mode="clip")
        return Batch(inputs, targets, labels)

    def in_order(self) -> Iterator[Batch]:
        """Yield the whole split in its own order."""
        rows, size = self.split.rows, len(self._inputs)
        for start in range(0, len(rows), size):
            yield self.gather(rows[start : start + size])


class Shuffler:
    """The order of an epoch, as rows of `batch_size` with a short last one, and who is mirrored.

    `order` and `position` with the generator's state are all that a resumed epoch needs.
    """

    def __init__(
        self, rows: Rows, batch_size: int, *, flips: bool, rng: np.random.Generator
    ) -> None:
        self.order, self.position = rows.copy(), 0
        self.batch_size, self.rng = batch_size, rng
        self._draws = np.empty(batch_size) if flips else None

    def __len__(self) -> int:
        """Batches in an epoch."""
        return math.ceil(len(self.order) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Rows, Mask | None]]:
        """Yield what is left of the epoch; the next one starts with a new permutation."""
        if self.position == 0:
            self.rng.shuffle(self.order)
        while self.position < len(self.order):
            rows = self.order[self.position : self.position + self.batch_size]
            mirrored = None
            if self._draws is not None:
                mirrored = self.rng.random(out=self._draws)[: len(rows)] < 0.5
            self.position += len(rows)  # a batch counts as done once it is handed out
            yield rows, mirrored
        self.position = 0
