"""`mlpcli export`: a saved network as a file for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from mlpcli import environment
from mlpcli.cli import _options as options
from mlpcli.errors import ConfigError
from mlpcli.runs import folder as runs

SUFFIXES = {"onnx": ".onnx", "safetensors": ".safetensors", "torch": ".pt"}


@click.command()
@click.argument("checkpoint", type=options.PATH)
@click.option(
    "--format",
    "kind",
    type=click.Choice(list(SUFFIXES)),
    default="onnx",
    show_default=True,
    help="ONNX model, safetensors, or PyTorch state dict.",
)
@click.option(
    "--input",
    "pixels",
    type=click.Choice(["float32", "uint8"]),
    default="float32",
    show_default=True,
    help="onnx: pixels in [0, 1], or as bytes from 0 to 255.",
)
@click.option(
    "--out",
    metavar="FILE",
    type=options.OUTPUT,
    help="File to write; -: standard output.  [default: beside CHECKPOINT, or in the run's folder]",
)
@options.verbosity
def export(checkpoint: Path, kind: str, pixels: str, out: Path | None) -> None:
    """Write the network of CHECKPOINT, a .npz file or a run's folder (then its best).

    An ONNX model takes images as (N, 3072), red, green and blue planes, and gives probabilities, in
    float32. The others hold weights and biases in the dtype that trained them. Label names and
    configuration are in the metadata of ONNX and safetensors.

    Needs onnx, safetensors or torch.

    \b
    mlpcli export runs/note-1
    mlpcli export runs/note-1 --input uint8 --out note.onnx
    mlpcli export runs/note-1 --format safetensors
    """
    if pixels != "float32" and kind != "onnx":
        raise ConfigError(f"--input {pixels} needs --format onnx, found {kind}")
    environment.set_threads(None)
    from mlpcli import export as exporters
    from mlpcli.runs import checkpoint as checkpoints

    path = runs.find(checkpoint)
    best = runs.best_of(path)
    saved = checkpoints.load(best)
    if path != best:  # of a run: its folder names the file, whatever in it was given
        path = runs.open_run(path).folder
    with options.needs(kind):
        if kind == "onnx":
            content = exporters.to_onnx(saved, uint8=pixels == "uint8")
        elif kind == "safetensors":
            content = exporters.to_safetensors(saved)
        else:
            content = exporters.to_torch(saved)
    chosen = out is not None
    name = f"{path.resolve().name}.npz" if path.is_dir() else path.name
    out = out or (path if path.is_dir() else path.parent) / Path(name).with_suffix(SUFFIXES[kind])
    options.write(out, content, chosen=chosen)
    sizes = "-".join(map(str, saved.layer_sizes))
    click.echo(f"{out}: {sizes}, {len(content) / 2**20:.1f} MiB", err=str(out) == "-")
