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
