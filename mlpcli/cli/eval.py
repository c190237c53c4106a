"""`mlpcli eval`: a checkpoint on a split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlpcli import environment
from mlpcli.cli import _options as options
from mlpcli.cli._progress import Bar
from mlpcli.cli._terminal import bar
from mlpcli.errors import CheckFailedError

if TYPE_CHECKING:
    from mlpcli.training.evaluate import Evaluation


@click.command("eval")
@click.argument("checkpoint", type=options.PATH)
@click.option(
    "--split",
    type=click.Choice(["test", "val", "train"]),
    default="test",
    show_default=True,
    help="Split to evaluate on.",
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

    from mlpcli.runs import checkpoint as checkpoints
    from mlpcli.runs import folder as runs
    from mlpcli.runs.inference import evaluate_checkpoint

    saved = checkpoints.load(runs.best_of(checkpoint))
    with Bar() as bar:
        bar.status(f"evaluating on the {split} images")
        result = evaluate_checkpoint(saved, split, data_dir)
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
        "interval": result.interval,
        "loss": result.loss,
        "per_class": {
            name: {"precision": float(precision), "recall": float(recall), "count": int(row.sum())}
            for name, precision, recall, row in figures
        },
        "confusion_matrix": result.counts.tolist(),
    }


def _print_table(split: str, result: Evaluation, names: tuple[str, ...]) -> None:
    """Print loss and accuracy, then recall, precision and confusion matrix, one row per class."""
    low, high = result.interval
    click.echo(
        f"{split}: {result.count:,} images, loss {result.loss:.4f}, accuracy "
        f"{result.accuracy:.2%} ({low:.1%} to {high:.1%} at 95%)"
    )
    click.echo("confusion matrix: rows are true classes, columns are predicted classes")
    click.echo()
    width = max(len(name) for name in names)
    head = "".join(f"{name[:4]:>5}" for name in names)
    click.echo(f"{'':{width}} recall        prec.{head}")
    rows = zip(result.counts, result.shares, strict=True)
    figures = zip(names, result.recall, result.precision, rows, strict=True)
    for i, (name, recall, precision, row) in enumerate(figures):
        drawn = click.style(f"{bar(recall, BAR):{BAR}}", fg="blue")
        cells = "".join(
            _cell(count, share, CORRECT if i == j else WRONG)
            for j, (count, share) in enumerate(zip(*row, strict=True))
        )
        click.echo(f"{name:{width}} {recall:6.1%} {drawn} {precision:6.1%}{cells}")


# Terminal backgrounds, of 256 colours, by the least share of a class's images they stand for.
CORRECT = {0.0: 17, 0.4: 18, 0.6: 19, 0.8: 20}
WRONG = {0.04: 52, 0.08: 88, 0.16: 124}
WHITE, BAR = 231, 5


def _cell(count: int, share: float, colors: dict[float, int]) -> str:
    shade = [color for least, color in colors.items() if share >= least]
    return click.style(f"{count:5}", fg=WHITE, bg=shade[-1]) if shade else f"{count:5}"
