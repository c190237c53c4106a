"""`mlpcli predict`: classify images with a checkpoint's network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlpcli import environment
from mlpcli.cli import _options as options
from mlpcli.cli import _terminal as terminal
from mlpcli.errors import DataError, printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COLUMNS = 80


@click.command()
@click.argument("checkpoint", type=options.PATH)
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=options.INPUT)
@click.option(
    "--top",
    metavar="N",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Number of classes per image, the most probable first.",
)
@options.as_json
@options.verbosity
def predict(checkpoint: Path, images: tuple[Path, ...], top: int, as_json: bool) -> None:
    """Classify each IMAGE with CHECKPOINT, a .npz file or a run's folder (then its best).

    An image may be a PNG, JPEG, WebP, GIF, BMP, PPM or TIFF of any size: it is rotated upright, put
    on white where it is transparent, and its central square is resized to 32×32.

    The probabilities are those of the loss that trained the network. With softmax_cross_entropy
    they sum to 100%; with the others each class has an independent one, and they need not.

    Needs Pillow (pip install pillow). Exits with 4 if an image cannot be read, after the others are
    classified.

    \b
    mlpcli predict runs/note-1 cat.jpg
    mlpcli predict runs/note-1 --top 10 photos/*.png
    mlpcli predict runs/note-1/checkpoints/last.npz --json -- cat.jpg ship.png
    """
    environment.set_threads(None)
    with options.needs("pillow"):
        from mlpcli.cifar10.images import read as read_image
    import numpy as np

    from mlpcli.runs import checkpoint as checkpoints
    from mlpcli.runs import folder as runs
    from mlpcli.runs import inference

    saved = checkpoints.load(runs.best_of(checkpoint))
    pixels: list[NDArray[np.uint8]] = []
    entries: list[dict[str, Any]] = []
    for path in images:
        entry: dict[str, Any] = {"file": str(path)}
        entries.append(entry)
        try:
            pixels.append(read_image(path))
        except DataError as error:
            if len(images) == 1:
                raise
            entry["error"] = str(error)
            click.echo(f"warning: {printable(str(error))}", err=True)
    classified = [entry for entry in entries if "error" not in entry]
    probs = inference.predict(saved, np.array(pixels, np.uint8).reshape(-1, 3072))
    for entry, row in zip(classified, probs, strict=True):
        entry["classes"] = _top(row, saved.label_names, top)
        if not as_json:
            _print(entry, max(map(len, saved.label_names)))
    if as_json:
        options.print_json({"images": entries})
    if errors := len(images) - len(classified):
        raise DataError(f"{errors} of {len(images)} images cannot be read")


def _top(probs: NDArray[np.float64], names: tuple[str, ...], top: int) -> list[dict[str, Any]]:
    """Return the most probable classes; of equal ones the first."""
    order = (-probs).argsort(kind="stable")[:top]
    return [{"name": names[k], "probability": float(probs[k])} for k in order]


def _print(entry: dict[str, Any], width: int) -> None:
    """Print an image's name, then one row per class: its probability, as a bar too."""
    click.echo(printable(entry["file"]))
    for each in entry["classes"]:
        start = f"  {each['name']:{width}} {each['probability']:6.1%} "
        bar = terminal.bar(each["probability"], max(COLUMNS - len(start), 10))
        click.echo((start + bar).rstrip())
