"""Minibatches: which rows come next and how each is varied, and the batch of them with targets."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mlpcli.data.dataset import Split
from mlpcli.data.inputs import GROUP, Draw, Inputs, Rows


class Batch(NamedTuple):
    """Views of the gatherer's buffers, valid until the next batch."""

    inputs: NDArray[Any]  # (B, D), what the first layer sees
    targets: NDArray[Any]  # (B, K), one-hot
    labels: Rows  # (B,)


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
