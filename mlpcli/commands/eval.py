"""`mlpcli eval`: a checkpoint on a split."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlpcli import environment
from mlpcli.commands import options
from mlpcli.errors import CheckFailedError

if TYPE_CHECKING:
    from mlpcli.evaluation import Evaluation


@click.command("eval")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "--split",
    type=click.Choice(["test", "val", "train"]),
    default="test",
    show_default=True,
    help="Which images.",
)
@options.data_dir
@options.as_json
@click.option(
    "--min-accuracy",
    metavar="X",
    type=options.SHARE,
    help="Exit with 3 if the accuracy is below X (0 to 1).",
)
@options.verbosity
def evaluate(
    checkpoint: Path,
    split: Any,
    data_dir: Path | None,
    as_json: bool,
    min_accuracy: float | None,
) -> None:
    """Evaluate CHECKPOINT, a .npz file or a run's folder (then its best).

    \b
    mlpcli eval runs/note-1
    mlpcli eval runs/note-1/checkpoints/last.npz --split val --json
    """
    environment.set_threads(None)

    from mlpcli import checkpoint as checkpoints
    from mlpcli import runs
    from mlpcli.evaluation import evaluate_checkpoint

    saved = checkpoints.load(runs.best_of(checkpoint))
    data = options.with_data_dir(saved.config, data_dir).data
    result = evaluate_checkpoint(saved, split, data)
    if as_json:
        options.print_json(_document(split, result, saved.label_names))
    else:
        _print_table(split, result, saved.label_names)
    if min_accuracy is not None and result.accuracy < min_accuracy:
        raise CheckFailedError(
            f"{split} accuracy {result.accuracy:.4f} is below the floor of {min_accuracy}"
        )


def _document(split: str, result: Evaluation, names: tuple[str, ...]) -> dict[str, Any]:
    figures = zip(names, result.precision, result.recall, result.counts, strict=True)
    return {
        "split": split,
        "count": result.count,
        "accuracy": result.accuracy,
        "loss": result.loss if math.isfinite(result.loss) else None,
        "per_class": {
            name: {"precision": float(precision), "recall": float(recall), "count": int(row.sum())}
            for name, precision, recall, row in figures
        },
        "confusion_matrix": result.counts.tolist(),
    }


def _print_table(split: str, result: Evaluation, names: tuple[str, ...]) -> None:
    """The figures, and a row a class: its recall and precision, then what its images became."""
    click.echo(
        f"{split}: {result.count:,} images, accuracy {result.accuracy:.2%}, loss {result.loss:.4f}"
    )
    click.echo("a row a class: its recall and precision, then what its images were taken for")
    click.echo()
    width = max(len(name) for name in names)
    head = "".join(f"{name[:4]:>5}" for name in names)
    click.echo(f"{'':{width}} recall  prec.{head}")
    figures = zip(names, result.recall, result.precision, result.counts, strict=True)
    for name, recall, precision, row in figures:
        counts = "".join(f"{count:5}" for count in row)
        click.echo(f"{name:{width}} {recall:6.1%} {precision:6.1%}{counts}")
