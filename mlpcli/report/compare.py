"""What a report compares: runs by validation accuracy, grouped over seeds, and the best on test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpcli.config import loading as config
from mlpcli.config.loading import differences, learned, short_names, text
from mlpcli.config.settings import UNLEARNED, Config
from mlpcli.data.dataset import Split
from mlpcli.errors import CheckpointError, printable
from mlpcli.metrics import Confusion, confusion_matrix, mcnemar
from mlpcli.runs import checkpoint
from mlpcli.runs.checkpoint import Checkpoint
from mlpcli.runs.folder import Run
from mlpcli.runs.inference import predict, split_for
from mlpcli.runs.legs import Leg
from mlpcli.runs.listing import ListedRun, look
from mlpcli.runs.provenance import earlier
from mlpcli.runs.reading import Row
from mlpcli.runs.seeds import SeedAccuracies


@dataclass(frozen=True)
class TrainedRun:
    """What a run's folder says of its training: configuration, metrics of each epoch, and legs."""

    run: Run
    config: Config
    epochs: list[Row]
    listed: ListedRun
    legs: list[Leg]

    @property
    def name(self) -> str:
        return printable(self.run.folder.resolve().name)

    @property
    def has_finished(self) -> bool:
        return self.listed.state == "finished"

    @property
    def val_accuracy(self) -> float | None:
        """The highest of all epochs; None without validation or before the first epoch."""
        accuracies = self.column("val/accuracy")
        return max((each for each in accuracies if each is not None), default=None)

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """What runs are sorted by, the first last: those that have finished before all others."""
        return self.has_finished, bool(self.epochs), self.val_accuracy or 0.0

    @property
    def seconds(self) -> float:
        return sum(each or 0.0 for each in self.column("seconds"))

    def column(self, name: str) -> list[float | None]:
        return [row[name] for row in self.epochs]


@dataclass(frozen=True)
class Group:
    """Runs that differ only in the seed, the best first: finished ones before all others."""

    runs: list[TrainedRun]

    @property
    def seeds(self) -> list[TrainedRun]:
        """The best run of each seed: two of one seed are one training, twice."""
        return list({each.config.seed: each for each in reversed(self.runs)}.values())[::-1]

    @property
    def accuracy(self) -> SeedAccuracies:
        accuracies = (each.val_accuracy for each in self.seeds)
        return SeedAccuracies([each for each in accuracies if each is not None])

    @property
    def has_finished(self) -> bool:
        """Whether a run of each seed has: the mean of fewer would be one of the luckier seeds."""
        return all(each.has_finished for each in self.seeds)

    @property
    def standing(self) -> str:
        """How many runs have finished, and how far the others are."""
        finished = sum(each.has_finished for each in self.runs)
        others = [each.listed.standing for each in self.runs if not each.has_finished]
        if len(others) > 2:
            others = [f"{len(others)} not finished"]
        return ", ".join([f"{finished} finished"] * (finished > 0) + others)

    @property
    def seconds(self) -> float:
        """Mean training time."""
        return fmean(each.seconds for each in self.runs)


@dataclass(frozen=True)
class EvaluatedRun:
    """A run whose best network has classified the test images; `probs` (N, K) per class."""

    trained: TrainedRun
    saved: Checkpoint
    test: Split
    probs: NDArray[np.float64]

    @cached_property
    def predictions(self) -> NDArray[np.intp]:
        """The most probable classes (N,)."""
        return self.probs.argmax(axis=1)

    @property
    def confidence(self) -> NDArray[np.float64]:
        """The probabilities of the predicted classes (N,)."""
        return self.probs.max(axis=1)

    @property
    def correct(self) -> NDArray[np.bool_]:
        return self.predictions == self.test.labels

    @property
    def confusion(self) -> Confusion:
        classes = len(self.saved.label_names)
        return Confusion(confusion_matrix(self.test.labels, self.predictions, classes))


@dataclass(frozen=True)
class Pair:
    """How many test images only one of two networks classifies correctly, and McNemar's p."""

    only_first: int
    only_second: int
    p: float


def read(runs: Iterable[Run]) -> list[TrainedRun]:
    """Read the folders of runs, each once, whatever paths lead there.

    Raises CheckpointError where one is not understood, or none has finished an epoch.
    """
    folders: dict[Path, Run] = {}
    for run in runs:
        folders.setdefault(run.folder.resolve(), run)
    found = [_read(run) for run in folders.values()]
    if not any(each.epochs for each in found):
        raise CheckpointError(f"{found[0].run.folder}: has not finished an epoch yet")
    return found


def _read(run: Run) -> TrainedRun:
    legs: list[Leg] = []
    with contextlib.suppress(CheckpointError):
        legs = earlier(run.environment).get("legs", [])
    return TrainedRun(run, config.load(run.config_file), run.epochs(), look(run), legs)


def grouped(runs: Iterable[TrainedRun]) -> list[Group]:
    """Group runs that differ only in the seed, by mean validation accuracy, the best first.

    Those of which a seed has not finished come after all others.
    """
    groups: dict[tuple[Any, ...], list[TrainedRun]] = {}
    for each in runs:
        groups.setdefault(learned(replace(each.config, seed=0)), []).append(each)
    ranked = [
        Group(sorted(same, key=lambda each: each.rank, reverse=True)) for same in groups.values()
    ]
    return sorted(ranked, key=lambda each: (each.has_finished, each.accuracy.rank), reverse=True)


def best_two(groups: list[Group]) -> list[TrainedRun]:
    """Return the best runs of the best two configurations, or of the only one its best two."""
    chosen = groups[0].seeds if len(groups) == 1 else [group.runs[0] for group in groups]
    return [each for each in chosen if each.epochs][:2]


def labels(groups: list[Group]) -> list[str]:
    """Name each configuration, and add the values in which it differs from others of its name.

    A name that all of them have, as the trials of a sweep, is left out.
    """
    configs = [group.runs[0].config for group in groups]
    named = len({each.name for each in configs}) > 1 or len(configs) == 1

    def label(own: Config) -> str:
        namesakes = [each for each in configs if each.name == own.name]
        changed = (differences(own, each).keys() for each in namesakes)
        keys = sorted(set().union(*changed) - UNLEARNED - {"seed"})
        values = config.values(own)
        names = zip(keys, short_names(keys), strict=True)
        parts = [f"{name} {text(values[key])}" for key, name in names if key in values]
        return ", ".join([own.name, *parts] if named else parts)

    return [label(each) for each in configs]


def evaluate(trained: TrainedRun, data_dir: Path | None) -> EvaluatedRun:
    """Classify the test images, of `data_dir` if given, with a run's best network."""
    saved = checkpoint.load(trained.run.best)
    split = split_for(saved, "test", data_dir)
    return EvaluatedRun(trained, saved, split, predict(saved, split.images))


def paired(first: EvaluatedRun, second: EvaluatedRun) -> Pair | None:
    """Compare two networks image by image; None where their test images are not the same."""
    if not np.array_equal(first.test.images, second.test.images):
        return None
    only_first = int((first.correct & ~second.correct).sum())
    only_second = int((second.correct & ~first.correct).sum())
    return Pair(only_first, only_second, mcnemar(only_first, only_second))
