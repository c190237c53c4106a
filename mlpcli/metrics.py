"""What a count of right answers can bear: intervals, a paired test, calibration."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray


def wilson_interval(hits: int, count: int, level: float = 0.95) -> tuple[float, float]:
    """Return the interval, in [0, 1], in which a share lies of which `hits` of `count` were seen.

    The score interval of Wilson (1927): it stays within [0, 1] and holds for shares near the ends.
    """
    z2 = NormalDist().inv_cdf((1 + level) / 2) ** 2
    middle = (hits + z2 / 2) / (count + z2)
    half = math.sqrt(z2 * (hits * (count - hits) / count + z2 / 4)) / (count + z2)
    share = hits / count  # at the ends rounding must not leave it outside
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


@dataclass(frozen=True)
class Confusion:
    """`counts[i, j]` are the images of class i that were taken for class j."""

    counts: NDArray[np.int64]

    @property
    def count(self) -> int:
        return int(self.counts.sum())

    @property
    def accuracy(self) -> float:
        """Share of images whose largest logit is that of their class, in [0, 1]."""
        return float(np.trace(self.counts) / self.counts.sum())

    @property
    def interval(self) -> tuple[float, float]:
        """Where the accuracy on all such images lies, with 95% confidence."""
        return wilson_interval(int(np.trace(self.counts)), self.count)

    @property
    def precision(self) -> NDArray[np.float64]:
        """Of the images taken for a class, the share that belong to it; 0 where there are none."""
        return self._share(self.counts.sum(axis=0))

    @property
    def recall(self) -> NDArray[np.float64]:
        """Of the images of a class, the share taken for it; 0 where there are none."""
        return self._share(self.counts.sum(axis=1))

    @property
    def shares(self) -> NDArray[np.float64]:
        """Of the images of a class, a row, the share taken for each; 0 where there are none."""
        shares: NDArray[np.float64] = self.counts / np.maximum(1, self.counts.sum(axis=1))[:, None]
        return shares

    def _share(self, of: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.divide(np.diag(self.counts), of, out=np.zeros(len(of)), where=of > 0)


def confusion_matrix(
    labels: NDArray[np.intp], guesses: NDArray[np.intp], classes: int
) -> NDArray[np.int64]:
    """Count labels (N,) by guesses (N,), as (classes, classes)."""
    pairs = np.bincount(labels * classes + guesses, minlength=classes**2)
    return pairs.reshape(classes, classes)


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value that two networks are equally often right.

    Given are the images that only the one or only the other had right; the others say nothing.
    The exact test of McNemar (1947): under equality each such image is a fair coin.
    """
    count, fewer = only_first + only_second, min(only_first, only_second)
    term = tail = 1  # whole numbers, since 2^count soon leaves the range of floats
    for k in range(fewer):
        term = term * (count - k) // (k + 1)
        tail += term
    return min(1.0, 2 * tail / 2**count)


@dataclass(frozen=True)
class Calibration:
    """Images in bins of equal width by how sure the network was of its guess.

    `count` (n,), and of each bin that has images the mean `confidence` (n,) and the `accuracy`
    (n,), NaN elsewhere; `error` is the mean distance of the two, by images (Guo et al. 2017).
    """

    count: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    error: float


def calibration(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_], bins: int = 10
) -> Calibration:
    """Return how `confidence` (N,), in [0, 1], compares with being `correct` (N,)."""
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(which, minlength=bins)

    def means(values: NDArray[Any]) -> NDArray[np.float64]:
        sums = np.bincount(which, values, minlength=bins)
        return np.divide(sums, count, out=np.full(bins, np.nan), where=count > 0)

    sure, right = means(confidence), means(correct)
    error = float(np.nansum(count * np.abs(sure - right)) / len(confidence))
    return Calibration(count, sure, right, error)
