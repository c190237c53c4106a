"""Metrics of a classifier: accuracy and its interval, confusion, a paired test, calibration."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray


def wilson_interval(correct: int, count: int, level: float = 0.95) -> tuple[float, float]:
    """Return the confidence interval, within [0, 1], of a proportion seen as `correct` / `count`.

    The score interval of E. B. Wilson (1927), J. Amer. Statist. Assoc. 22: unlike mean ± z·std it
    holds near 0 and 1 as well. `count` is at least 1.
    """
    z2 = NormalDist().inv_cdf((1 + level) / 2) ** 2
    middle = (correct + z2 / 2) / (count + z2)
    half = math.sqrt(z2 * (correct * (count - correct) / count + z2 / 4)) / (count + z2)
    # Of all correct, rounding can leave the upper end on either side of 1; the lower one is exact.
    return middle - half, min(1.0, max(correct / count, middle + half))


@dataclass(frozen=True)
class Confusion:
    """`counts`, int64 (K, K): `counts[i, j]` images of class i were predicted as class j."""

    counts: NDArray[np.int64]

    @property
    def count(self) -> int:
        return int(self.counts.sum())

    @property
    def accuracy(self) -> float:
        """Share of images whose class was predicted, in [0, 1]."""
        return float(np.trace(self.counts) / self.counts.sum())

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% confidence interval of the accuracy."""
        return wilson_interval(int(np.trace(self.counts)), self.count)

    @property
    def precision(self) -> NDArray[np.float64]:
        """Per class (K,): share of its predictions that are correct; 0 where there are none."""
        return np.diag(self.counts) / np.maximum(1, self.counts.sum(axis=0))

    @property
    def recall(self) -> NDArray[np.float64]:
        """Per class (K,): share of its images predicted as it; 0 where there are none."""
        return np.diag(self.shares)

    @property
    def shares(self) -> NDArray[np.float64]:
        """`counts` as shares of each row (K, K), in [0, 1]; 0 where a class has no images."""
        shares: NDArray[np.float64] = self.counts / np.maximum(1, self.counts.sum(axis=1))[:, None]
        return shares


def confusion_matrix(
    labels: NDArray[np.intp], predictions: NDArray[np.intp], classes: int
) -> NDArray[np.int64]:
    """Count images by label (N,) and prediction (N,), both in [0, K), as int64 (K, K)."""
    pairs = np.bincount(labels * classes + predictions, minlength=classes**2)
    return pairs.reshape(classes, classes)


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value, in [0, 1], of two networks having the same accuracy.

    Given are the numbers of images that only the first and only the second classifies correctly.
    The test of Q. McNemar (1947), Psychometrika 12, in its exact form: if the accuracies are the
    same, the first number is binomial with probability ½.
    """
    count, fewer = only_first + only_second, min(only_first, only_second)
    term = tail = 1  # Python integers, since 2^count soon leaves the range of floats
    for k in range(fewer):
        term = term * (count - k) // (k + 1)
        tail += term
    return min(1.0, 2 * tail / 2**count)


@dataclass(frozen=True)
class Calibration:
    """Predictions in B bins of equal width by confidence, the probability of the predicted class.

    `count`, int64 (B,); `confidence` and `accuracy`, float64 (B,): the means of each bin, NaN where
    it is empty; `error`, in [0, 1]: the expected calibration error, the mean of |accuracy −
    confidence| over bins weighted by their counts (Guo et al. 2017, arXiv:1706.04599).
    """

    count: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    error: float


def calibration(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_], bins: int = 10
) -> Calibration:
    """Compare the `confidence` (N,), in [0, 1], of predictions with whether they are `correct`."""
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(which, minlength=bins)

    def means(values: NDArray[Any]) -> NDArray[np.float64]:
        sums = np.bincount(which, values, minlength=bins)
        return np.divide(sums, count, out=np.full(bins, np.nan), where=count > 0)

    mean_confidence, accuracy = means(confidence), means(correct)
    error = float(np.nansum(count * np.abs(accuracy - mean_confidence)) / len(confidence))
    return Calibration(count, mean_confidence, accuracy, error)
