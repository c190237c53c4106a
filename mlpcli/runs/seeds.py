"""Accuracy over runs that differ only in the seed. Imports no NumPy."""

from __future__ import annotations

import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class SeedAccuracies:
    """Accuracies in [0, 1] of runs of one configuration; as text in percent, mean ± std."""

    values: list[float]

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.values) if self.values else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation (n − 1 in the denominator); None for fewer than two runs."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def rank(self) -> float:
        """What rankings sort by: the mean, or less than any mean where there is none."""
        return -1.0 if self.mean is None else self.mean

    def __str__(self) -> str:
        mean = "–" if self.mean is None else f"{self.mean:.2%}"
        return mean if self.std is None else f"{mean} ± {100 * self.std:.2f}"
