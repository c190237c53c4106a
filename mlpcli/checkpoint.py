"""Checkpoints: .npz files of plain arrays and JSON text, written whole or not at all.

W1, b1, W2, b2, … act on flattened pixels in [0, 1]; `metadata` is JSON text. `last.npz` also holds
what a resumed run needs, under `resume/`.
"""

from __future__ import annotations

import itertools
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpcli.config import Config, from_dict, to_dict
from mlpcli.errors import CheckpointError
from mlpcli.files import replacing
from mlpcli.nn.network import Network

FORMAT = 1
RESUME = "resume/"

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Checkpoint:
    """A network on pixels, what it was trained as, and for a last checkpoint how to go on."""

    parameters: Arrays
    config: Config
    label_names: tuple[str, ...]
    data_digest: str
    epoch: int
    step: int
    val_accuracy: float | None
    val_loss: float | None
    resume_arrays: Arrays = field(default_factory=dict)
    resume_values: dict[str, Any] = field(default_factory=dict)

    def network(self, batch_size: int) -> Network:
        """Return the network, on pixels in [0, 1], in the dtype it was saved in."""
        weights = [W for name, W in self.parameters.items() if name.startswith("W")]
        sizes = (weights[0].shape[0], *(W.shape[1] for W in weights))
        network = Network(sizes, self.config.model.activation, batch_size, weights[0].dtype)
        for name, view in network.parameters.items():
            view[...] = self.parameters[name]
        return network


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint so that after any failure the old file or the new one stands, whole.

    Raises MlpcliError where the disk or its permissions do not allow it; the old file is kept.
    """
    metadata = {
        "format": FORMAT,
        "config": to_dict(checkpoint.config),
        "label_names": checkpoint.label_names,
        "data_digest": checkpoint.data_digest,
        "epoch": checkpoint.epoch,
        "step": checkpoint.step,
        "val_accuracy": checkpoint.val_accuracy,
        "val_loss": checkpoint.val_loss,
        "resume": checkpoint.resume_values,
    }
    arrays = checkpoint.parameters | {
        RESUME + name: array for name, array in checkpoint.resume_arrays.items()
    }
    with replacing(path) as file:
        np.savez(file, metadata=np.array(json.dumps(metadata)), **arrays)  # type: ignore[arg-type]


def load(path: Path) -> Checkpoint:
    """Read a checkpoint; raises CheckpointError, naming the file, for anything but a whole one."""
    try:
        with path.open("rb") as raw:
            if not zipfile.is_zipfile(raw):
                raise ValueError("not an .npz file, or not a whole one")
            raw.seek(0)
            with np.load(raw, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        if "metadata" not in arrays:
            raise ValueError("it has no metadata")
        metadata = json.loads(str(arrays.pop("metadata")))
        if metadata["format"] != FORMAT:
            raise ValueError(f"format {metadata['format']}, expected {FORMAT}")
        resume = {name: arrays.pop(name) for name in list(arrays) if name.startswith(RESUME)}
        checkpoint = Checkpoint(
            parameters=arrays,
            config=from_dict(metadata["config"], str(path)),
            label_names=tuple(metadata["label_names"]),
            data_digest=metadata["data_digest"],
            epoch=metadata["epoch"],
            step=metadata["step"],
            val_accuracy=metadata["val_accuracy"],
            val_loss=metadata["val_loss"],
            resume_arrays={name.removeprefix(RESUME): array for name, array in resume.items()},
            resume_values=metadata["resume"],
        )
        _check_shapes(checkpoint)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception as error:  # whatever a torn, foreign or crafted file leads to
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: not a checkpoint of mlpcli: {reason}") from None
    return checkpoint


def _check_shapes(checkpoint: Checkpoint) -> None:
    """Raise ValueError unless the arrays are those of the configured network, and finite."""
    sizes = (3072, *checkpoint.config.model.hidden, len(checkpoint.label_names))
    dtype = np.dtype(checkpoint.config.training.dtype)
    shapes: dict[str, tuple[int, ...]] = {}
    for i, (D, H) in enumerate(itertools.pairwise(sizes), start=1):
        shapes |= {f"W{i}": (D, H), f"b{i}": (H,)}
    if list(checkpoint.parameters) != list(shapes):
        raise ValueError(f"found {', '.join(checkpoint.parameters)}, expected {', '.join(shapes)}")
    for name, array in checkpoint.parameters.items():
        if array.shape != shapes[name] or array.dtype != dtype:
            found = f"{name} is {array.shape} {array.dtype}"
            raise ValueError(f"{found}, expected {shapes[name]} {dtype}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} is not finite")
