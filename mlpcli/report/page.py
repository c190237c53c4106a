"""A page about runs: curves, figures and pictures, all in one file that needs no network."""

from __future__ import annotations

import math
import shlex
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import resources
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from mlpcli.config import loading as config
from mlpcli.config.loading import differences, short_names, text
from mlpcli.config.settings import UNLEARNED, Config
from mlpcli.data.dataset import Split
from mlpcli.errors import CheckpointError, printable
from mlpcli.metrics import Confusion, calibration, confusion_matrix, mcnemar, wilson_interval
from mlpcli.report import plots
from mlpcli.report.plots import Line
from mlpcli.runs import checkpoint
from mlpcli.runs.checkpoint import Checkpoint
from mlpcli.runs.folder import Run
from mlpcli.runs.inference import predict, split_for

TEMPLATES = 96  # units of the first layer that are shown
IMAGES = 12  # test images that are shown, right ones and wrong ones each

# What makes no other network: runs that differ in nothing else are seeds of one configuration.
NO_OTHER = UNLEARNED | {"seed"}


@dataclass(frozen=True)
class Trained:
    """A run as its folder tells it: configuration, and metrics by epoch."""

    run: Run
    config: Config
    epochs: list[dict[str, float | None]]

    @property
    def name(self) -> str:
        return printable(self.run.folder.resolve().name)

    @property
    def best(self) -> dict[str, float | None]:
        """The epoch whose network was kept: the first of the highest validation accuracy."""
        if self.epochs[-1]["val/accuracy"] is None:
            return self.epochs[-1]
        return max(self.epochs, key=lambda row: row["val/accuracy"] or 0.0)

    @property
    def val_accuracy(self) -> float | None:
        return self.best["val/accuracy"]

    @property
    def seconds(self) -> float:
        return sum(row["seconds"] or 0.0 for row in self.epochs)

    def column(self, name: str) -> list[float | None]:
        return [row[name] for row in self.epochs]


@dataclass(frozen=True)
class Group:
    """Runs of one configuration with several seeds, the best first."""

    runs: list[Trained]
    label: str = ""

    @property
    def accuracies(self) -> list[float]:
        return [each.val_accuracy for each in self.runs if each.val_accuracy is not None]

    @property
    def mean(self) -> float | None:
        return statistics.mean(self.accuracies) if self.accuracies else None

    @property
    def deviation(self) -> float | None:
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else None


@dataclass(frozen=True)
class Tested:
    """A run's best network on the test images: class probabilities (N, K)."""

    trained: Trained
    saved: Checkpoint
    test: Split
    probs: NDArray[np.float64]

    @cached_property
    def guesses(self) -> NDArray[np.intp]:
        return self.probs.argmax(axis=1)

    @property
    def confidence(self) -> NDArray[np.float64]:
        """How probable each guess was."""
        return self.probs.max(axis=1)

    @property
    def correct(self) -> NDArray[np.bool_]:
        return self.guesses == self.test.labels

    @property
    def confusion(self) -> Confusion:
        classes = len(self.saved.label_names)
        return Confusion(confusion_matrix(self.test.labels, self.guesses, classes))


def page(runs: Sequence[Run], data_dir: str | None = None) -> str:
    """Return an HTML page about these runs; of several, with all details of the best alone.

    The best is chosen by validation accuracy. The test images are read for it and, to compare
    them, for the next best configuration: never to choose. Raises CheckpointError, and DataError
    where the test images are not to be had.
    """
    groups = _grouped([_read(run) for run in runs])
    compared = [group.runs[0] for group in groups[:2]]
    if len(groups) == 1:
        compared = groups[0].runs[:2]
    tested = [_test(trained, data_dir) for trained in compared]
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": _percent, "number": lambda value: f"{value:,}"}
    template = resources.files("mlpcli.report").joinpath("page.html").read_text("utf-8")
    best = tested[0]
    settings = best.saved.config
    return environment.from_string(template).render(
        colors=plots.COLORS | plots.GROUND,
        groups=groups,
        best=best,
        several=_several(groups, tested) if len(runs) > 1 else None,
        pair=_pair(*tested) if len(tested) == 2 else None,
        description=_description(best.saved),
        figures=_figures(best),
        curves=_curves(best.trained),
        confusion=_confusion(best),
        templates=_templates(best.saved),
        units=settings.model.hidden[0] if settings.model.hidden else None,
        own_probabilities=not settings.loss.startswith("softmax"),
        pictures=_pictures(best),
        calibration=_calibration(best),
        command=printable(shlex.quote(str(best.trained.run.config))),
        config_text=config.to_yaml(settings),
        environment={
            printable(name): printable(str(value))
            for name, value in (
                *best.saved.environment.items(),
                ("data_digest", best.saved.data_digest),
            )
        },
    )


def _description(saved: Checkpoint) -> str:
    """Say in a line what was trained, and how."""
    settings = saved.config
    sizes = "-".join(map(str, (3072, *settings.model.hidden, len(saved.label_names))))
    units = f" {settings.model.activation} units," if settings.model.hidden else ""
    return (
        f"{sizes},{units} {settings.loss.replace('_', ' ')}, {settings.optimizer.name}, "
        f"batches of {settings.training.batch_size}"
    )


def _read(run: Run) -> Trained:
    epochs = run.epochs()
    if not epochs:
        raise CheckpointError(f"{run.folder}: has not finished an epoch yet")
    return Trained(run, config.load(run.config), epochs)


def _grouped(runs: list[Trained]) -> list[Group]:
    """Put seeds of one configuration together; the highest validation accuracy comes first."""
    groups: list[list[Trained]] = []
    for each in runs:
        for same in groups:
            if differences(same[0].config, each.config).keys() <= NO_OTHER:
                same.append(each)
                break
        else:
            groups.append([each])
    ranked = [Group(sorted(same, key=_rank, reverse=True)) for same in groups]
    ranked.sort(key=lambda group: -math.inf if group.mean is None else group.mean, reverse=True)
    return [
        replace(group, label=label) for group, label in zip(ranked, _labels(ranked), strict=True)
    ]


def _rank(trained: Trained) -> float:
    return -math.inf if trained.val_accuracy is None else trained.val_accuracy


def _labels(groups: list[Group]) -> list[str]:
    """Name each configuration, and where others have its name, say in what it differs from them.

    A name that all have, as the trials of a sweep, says nothing.
    """
    configs = [group.runs[0].config for group in groups]
    named = len({each.name for each in configs}) > 1 or len(configs) == 1

    def label(own: Config) -> str:
        namesakes = [each for each in configs if each.name == own.name]
        changed = (differences(own, each).keys() for each in namesakes)
        keys = sorted(set().union(*changed) - NO_OTHER)
        values = config.values(own)
        names = zip(keys, short_names(keys), strict=True)
        parts = [f"{name} {text(values[key])}" for key, name in names if key in values]
        return ", ".join([own.name, *parts] if named else parts)

    return [label(each) for each in configs]


def _test(trained: Trained, data_dir: str | None) -> Tested:
    """Have a run's best network say what is on the test images."""
    saved = checkpoint.load(trained.run.best)
    data = saved.config.data
    if data_dir is not None and data.name == "cifar10":
        data = replace(data, dir=data_dir)
    test = split_for(saved, "test", data)
    return Tested(trained, saved, test, predict(saved, test.images))


# What the page shows, each as plain values.


def _figures(best: Tested) -> list[tuple[str, str, str]]:
    """Return names, values and what they mean."""
    trained, settings = best.trained, best.saved.config
    low, high = best.confusion.interval
    figures = [
        (
            "test accuracy",
            _percent(best.confusion.accuracy),
            f"of {len(best.test):,} images; 95% interval {_percent(low)} to {_percent(high)}",
        )
    ]
    # Of the network that was kept: a run that is still going may have a better one by now.
    if (accuracy := best.saved.val_accuracy) is not None:
        count = settings.data.val_size
        low, high = wilson_interval(round(accuracy * count), count)
        figures.append(
            (
                "validation accuracy",
                _percent(accuracy),
                f"of {count:,} images; 95% interval {_percent(low)} to {_percent(high)}",
            )
        )
    speed = statistics.median(row["images_per_second"] or 0.0 for row in trained.epochs)
    return [
        *figures,
        (
            "kept epoch",
            f"{best.saved.epoch} of {settings.training.epochs}",
            "the best by validation accuracy" if settings.data.val_size else "the last one",
        ),
        ("training", f"{trained.seconds:,.1f} s", f"{speed:,.0f} images/s, the median of epochs"),
        (
            "parameters",
            f"{sum(array.size for array in best.saved.parameters.values()):,}",
            "weights and biases, on pixels",
        ),
    ]


def _curves(trained: Trained) -> list[str]:
    """Draw a run's loss, accuracy and learning rate."""

    def pair(name: str) -> list[Line]:
        lines = [Line(trained.column(f"train/{name}"), 2, dashed=True, label="train")]
        if trained.val_accuracy is not None:
            lines.insert(0, Line(trained.column(f"val/{name}"), 1, label="val"))
        return lines

    return [
        plots.curves(pair("loss"), "loss"),
        plots.curves(pair("accuracy"), "accuracy", percent=True),
        plots.curves([Line(trained.column("learning_rate"), 3)], "learning rate"),
    ]


def _several(groups: list[Group], tested: list[Tested]) -> dict[str, Any]:
    """Return a table of configurations and their curves, one above the other."""
    rows = [
        {
            "color": plots.line_color(number),
            "group": group,
            "seconds": statistics.mean(each.seconds for each in group.runs),
            "tested": tested[number - 1] if number <= len(tested) else None,
        }
        for number, group in enumerate(groups, start=1)
    ]

    def overlaid(name: str, title: str, *, percent: bool = False) -> str:
        lines = [
            Line(each.column(name), number)
            for number, group in enumerate(groups, start=1)
            for each in group.runs
        ]
        return plots.curves(lines, title, percent=percent)

    val = "val" if groups[0].mean is not None else "train"
    return {
        "runs": sum(len(group.runs) for group in groups),
        "rows": rows,
        "curves": [
            overlaid(f"{val}/accuracy", f"{val} accuracy", percent=True),
            overlaid(f"{val}/loss", f"{val} loss"),
            overlaid("learning_rate", "learning rate"),
        ],
    }


def _pair(one: Tested, other: Tested) -> dict[str, Any] | None:
    """Compare two networks image by image; None where their test images are not the same."""
    if not np.array_equal(one.test.images, other.test.images):
        return None
    only_one = int((one.correct & ~other.correct).sum())
    only_other = int((other.correct & ~one.correct).sum())
    p = mcnemar(only_one, only_other)
    return {"one": one, "other": other, "only_one": only_one, "only_other": only_other, "p": p}


def _confusion(best: Tested) -> dict[str, Any]:
    names, found = best.saved.label_names, best.confusion
    figures = zip(names, found.recall, found.precision, found.counts, found.shares, strict=True)
    rows = [
        {
            "name": name,
            "recall": recall,
            "precision": precision,
            "cells": [
                {"count": count, "share": share, "hit": i == j}
                for j, (count, share) in enumerate(zip(*row, strict=True))
            ],
        }
        for i, (name, recall, precision, *row) in enumerate(figures)
    ]
    return {"names": names, "rows": rows}


def _templates(saved: Checkpoint) -> list[dict[str, str]]:
    """Return the pictures of the first layer's units that weigh most in what follows."""
    W1, W2 = saved.parameters["W1"], saved.parameters.get("W2")
    if W2 is None:  # logistic regression: a unit a class
        named = zip(saved.label_names, W1.T, strict=True)
        return [{"picture": plots.png(plots.template(w)), "says": name} for name, w in named]
    shown = np.argsort(-np.linalg.norm(W2, axis=1), kind="stable")[:TEMPLATES]
    found = [(f"unit {unit}", unit) for unit in shown.tolist()]
    if len(saved.config.model.hidden) == 1:  # then a unit speaks to the classes itself
        names = saved.label_names
        found = [
            (f"{says}: for {names[W2[unit].argmax()]}, against {names[W2[unit].argmin()]}", unit)
            for says, unit in found
        ]
    return [
        {"picture": plots.png(plots.template(W1[:, unit])), "says": says} for says, unit in found
    ]


def _pictures(best: Tested) -> dict[str, list[dict[str, Any]]]:
    """Return the right and the wrong guesses that were surest, with all class probabilities."""
    names, surest = best.saved.label_names, np.argsort(-best.confidence, kind="stable")

    def shown(which: NDArray[np.bool_]) -> list[dict[str, Any]]:
        return [
            {
                "picture": plots.png(plots.picture(best.test.images[i])),
                "number": int(i),
                "label": names[best.test.labels[i]],
                "guess": names[best.guesses[i]],
                "probs": list(zip(names, best.probs[i].tolist(), strict=True)),
            }
            for i in surest[which[surest]][:IMAGES]
        ]

    return {"right": shown(best.correct), "wrong": shown(~best.correct)}


def _calibration(best: Tested) -> dict[str, Any]:
    found = calibration(best.confidence, best.correct)
    title = "accuracy by probability"
    return {"plot": plots.reliability(found, title), "error": found.error}


def _percent(share: float) -> str:
    return f"{share:.2%}"
