"""The HTML page of a report: what it shows of the compared runs, in one file without links."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import jinja2
import numpy as np

from mlpcli.config.loading import to_yaml
from mlpcli.errors import printable
from mlpcli.metrics import calibration, wilson_interval
from mlpcli.report import compare, plots
from mlpcli.report.compare import EvaluatedRun, Group, TrainedRun
from mlpcli.report.plots import Line
from mlpcli.runs import legs
from mlpcli.runs.checkpoint import Checkpoint
from mlpcli.runs.folder import Run

UNITS = 96  # units of the first layer whose weights are shown
IMAGES = 12  # test images that are shown, correct and mistaken ones each


def page(runs: Sequence[Run], data_dir: Path | None = None) -> str:
    """Return an HTML page about these runs; of several, with all details of the best alone.

    The best is chosen by validation accuracy. The test images are read for it and, to compare
    them, for the next best configuration: never to choose. Raises CheckpointError, and DataError
    where the test images are unavailable.
    """
    trained = compare.read(runs)
    groups = compare.grouped(trained)
    evaluated = [compare.evaluate(each, data_dir) for each in compare.best_two(groups)]
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        percent=_percent,
        number=lambda value: f"{value:,}",
        line_color=plots.line_color,
        png=plots.png,
        printable=printable,
    )
    template = resources.files("mlpcli.report").joinpath("page.html").read_text("utf-8")
    best = evaluated[0]
    settings, found = best.saved.config, calibration(best.confidence, best.correct)
    facts = best.saved.environment | {"data_digest": best.saved.data_digest}
    return environment.from_string(template).render(
        colors=plots.COLORS | plots.BACKGROUND,
        several=len(trained) > 1,
        groups=groups,
        labels=compare.labels(groups),
        overlaid=_overlaid(groups),
        evaluated=evaluated,
        pair=compare.paired(*evaluated) if len(evaluated) == 2 else None,
        best=best,
        names=best.saved.label_names,
        description=_description(best.saved),
        figures=_figures(best),
        curves=_curves(best.trained),
        confusion=best.confusion,
        weights=_weights(best.saved),
        units=settings.model.hidden[0] if settings.model.hidden else None,
        independent_probabilities=not settings.loss.startswith("softmax"),
        images=_images(best),
        calibration=found,
        reliability=plots.reliability(found, "accuracy by confidence"),
        commands=[printable(each) for each in _commands(best.trained)],
        legs=legs.spans(best.trained.legs, best.trained.listed.epochs),
        config_text=to_yaml(settings),
        environment={printable(name): printable(str(value)) for name, value in facts.items()},
    )


def _description(saved: Checkpoint) -> str:
    """Return one line on the network and how it was trained."""
    settings = saved.config
    sizes = "-".join(map(str, saved.layer_sizes))
    units = f" {settings.model.activation} units," if settings.model.hidden else ""
    return (
        f"{sizes},{units} {settings.loss.replace('_', ' ')}, {settings.optimizer.name}, "
        f"batches of {settings.training.batch_size}"
    )


def _figures(best: EvaluatedRun) -> list[tuple[str, str, str]]:
    """Return the main figures: a name, a value and a remark each."""

    def accuracy(name: str, accuracy: float, count: int) -> tuple[str, str, str]:
        low, high = wilson_interval(round(accuracy * count), count)
        remark = f"of {count:,} images; 95% interval {_percent(low)} to {_percent(high)}"
        return name, _percent(accuracy), remark

    trained, val_size = best.trained, best.saved.config.data.val_size
    figures = [accuracy("test accuracy", best.confusion.accuracy, len(best.test))]
    # Of the saved network: a run that is still going may have a better one by now.
    if best.saved.val_accuracy is not None:
        figures.append(accuracy("validation accuracy", best.saved.val_accuracy, val_size))
    speed = statistics.median(row["images_per_second"] or 0.0 for row in trained.epochs)
    return [
        *figures,
        (
            "checkpoint epoch",
            f"{best.saved.epoch} of {trained.config.training.epochs}",
            "highest validation accuracy" if val_size else "the last, without validation",
        ),
        ("training time", f"{trained.seconds:,.1f} s", f"median {speed:,.0f} images/s"),
        (
            "parameters",
            f"{sum(array.size for array in best.saved.named_params.values()):,}",
            "weights and biases of the network on pixels",
        ),
    ]


def _commands(trained: TrainedRun) -> list[str]:
    """Return the commands that train a run once more."""
    return legs.commands(trained.legs, trained.config, trained.run.config_file)


def _curves(trained: TrainedRun) -> list[str]:
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


def _overlaid(groups: list[Group]) -> list[str]:
    """Draw accuracy, loss and learning rate of all runs, coloured by group."""

    def drawn(name: str, title: str, *, percent: bool = False) -> str:
        lines = [
            Line(each.column(name), number)
            for number, group in enumerate(groups, start=1)
            for each in group.runs
            if each.epochs
        ]
        return plots.curves(lines, title, percent=percent)

    split = "val" if groups[0].accuracy.values else "train"
    return [
        drawn(f"{split}/accuracy", f"{split} accuracy", percent=True),
        drawn(f"{split}/loss", f"{split} loss"),
        drawn("learning_rate", "learning rate"),
    ]


def _weights(saved: Checkpoint) -> list[tuple[str, str]]:
    """Return names and images of first-layer units, by the norm of their outgoing weights."""
    W1, W2, names = saved.named_params["W1"], saved.named_params.get("W2"), saved.label_names
    if W2 is None:  # logistic regression: the units are the classes
        return [(name, plots.weights_png(w)) for name, w in zip(names, W1.T, strict=True)]
    found = []
    for unit in np.argsort(-np.linalg.norm(W2, axis=1), kind="stable")[:UNITS]:
        name = f"unit {unit}"
        if len(saved.config.model.hidden) == 1:  # the outgoing weights are those of the classes
            name += f": for {names[W2[unit].argmax()]}, against {names[W2[unit].argmin()]}"
        found.append((name, plots.weights_png(W1[:, unit])))
    return found


def _images(best: EvaluatedRun) -> dict[str, list[int]]:
    """Return the test images of the most confident correct predictions and mistakes."""
    order = np.argsort(-best.confidence, kind="stable")
    correct = best.correct[order]
    return {
        "correct predictions": order[correct][:IMAGES].tolist(),
        "mistakes": order[~correct][:IMAGES].tolist(),
    }


def _percent(share: float) -> str:
    return f"{share:.2%}"
