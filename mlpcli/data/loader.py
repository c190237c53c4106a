"""Loaders: which rows of a split come next, and the batch of inputs and targets made of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mlpcli.data.augment import Augmentation
from mlpcli.data.dataset import Split

Array = NDArray[Any]
Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]


class Batch(NamedTuple):
    """Views of a loader's buffers, valid until the next batch."""

    inputs: Array  # (B, D), what the first layer sees
    targets: Array  # (B, K), one-hot
    labels: Rows  # (B,)


class Inputs(Protocol):
    """What the first layer sees of a set of images."""

    def gather(self, rows: Rows, flipped: Mask | None = None) -> Array:
        """Return (B, D) of the images `rows`, some of them flipped, valid until the next call."""


class Sampler:
    """The order of an epoch, as `batch_size` rows at a time with a short last batch.

    With `rng` each epoch has a new order. `order`, `position` and the state of `rng` are all that a
    resumed epoch needs.
    """

    def __init__(self, rows: Rows, batch_size: int, rng: np.random.Generator | None = None) -> None:
        self.order, self.position = rows.copy(), 0
        self.batch_size, self.rng = batch_size, rng

    def __len__(self) -> int:
        """Batches in an epoch."""
        return math.ceil(len(self.order) / self.batch_size)

    def __iter__(self) -> Iterator[Rows]:
        """Yield what is left of the epoch, batch by batch; the next one starts anew."""
        if self.rng is None:
            self.position = 0
        elif self.position == 0:
            self.rng.shuffle(self.order)
        while self.position < len(self.order):
            rows = self.order[self.position : self.position + self.batch_size]
            self.position += len(rows)  # a batch counts as done once it is handed out
            yield rows
        self.position = 0


class Loader:
    """Batches of a split, over an epoch: in its own order, or in one drawn from `order`."""

    def __init__(
        self,
        split: Split,
        inputs: Inputs,
        classes: int,
        batch_size: int,
        dtype: DTypeLike,
        order: np.random.Generator | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.split, self.inputs, self.augmentation = split, inputs, augmentation
        self.sampler = Sampler(split.rows, batch_size, order)
        self._one_hot = np.eye(classes, dtype=dtype)
        self._targets = np.empty((batch_size, classes), dtype)
        self._labels = np.empty(batch_size, np.intp)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        for rows in self.sampler:
            n = len(rows)
            # mode="clip" writes straight to out; the default fills a buffer of its own first.
            labels = np.take(self.split.labels, rows, out=self._labels[:n], mode="clip")
            targets = np.take(self._one_hot, labels, axis=0, out=self._targets[:n], mode="clip")
            yield Batch(self._gather(rows), targets, labels)

    def _gather(self, rows: Rows) -> Array:
        if self.augmentation is None:
            return self.inputs.gather(rows)
        X = self.inputs.gather(rows, self.augmentation.flipped(len(rows)))
        return self.augmentation.apply(X)

    def in_order(self, split: Split) -> Loader:
        """Return a loader of another split of the same images, in order and not augmented.

        It shares the inputs, and so their buffers: use one loader at a time.
        """
        classes, dtype = self._targets.shape[1], self._targets.dtype
        return Loader(split, self.inputs, classes, self.sampler.batch_size, dtype)
