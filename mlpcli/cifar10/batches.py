"""Reads and writes the batch files of CIFAR-10: `cifar-10-batches-py` and `cifar-10-batches-bin`.

An image is 3072 bytes: 1024 red, then 1024 green, then 1024 blue, each 32 rows of 32 pixels.
"""

from __future__ import annotations

import pickle
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpcli.cifar10.pickles import Call, Global, read_pickle
from mlpcli.errors import DataError
from mlpcli.files import open_regular, reading

PIXELS = 3072
PYTHON_FOLDER = "cifar-10-batches-py"
BINARY_FOLDER = "cifar-10-batches-bin"
TRAIN_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST_BATCHES = ("test_batch",)
META = "batches.meta"

MAX_BATCH_ROWS = 10_000
MAX_BATCH_BYTES = 64 * 2**20  # an official batch has 31.0 million; as text, pixels take up to twice
MAX_BINARY_BYTES = MAX_BATCH_ROWS * (PIXELS + 1)
MAX_META_BYTES = 2**16
MAX_NAME = 100  # characters of the name of a class
UINT8 = Call("dtype", ("u1", 0, 1), (3, "|", None, None, None, -1, -1, 0))  # as NumPy pickles it

Images = NDArray[np.uint8]
Labels = NDArray[np.intp]


@dataclass(frozen=True)
class Folder:
    """A folder of batch files, with the names of its classes, and the images per batch if known."""

    path: Path
    label_names: tuple[str, ...]
    batch_rows: int | None

    def read(self, batches: Sequence[str]) -> tuple[Images, Labels]:
        """Return images (N, 3072) and labels (N,) of the named batches, in order.

        Raises DataError for a batch that is missing, truncated, or not one of CIFAR-10.
        """
        is_binary = self.path.name == BINARY_FOLDER
        labels = []
        for i, name in enumerate(batches):
            path = self.path / (f"{name}.bin" if is_binary else name)
            images, classes = _read_binary(path) if is_binary else _read_python(path)
            if i == 0:  # allocated once: joining all batches at the end would take twice the memory
                rows = self.batch_rows or len(images)
                pixels = np.empty((len(batches), rows, PIXELS), np.uint8)
            if len(images) != rows:
                raise DataError(f"{path}: found {len(images)} images, expected {rows}")
            if classes.max() >= len(self.label_names):
                raise DataError(
                    f"{path}: found label {classes.max()}, expected 0 to "
                    f"{len(self.label_names) - 1}"
                )
            pixels[i] = images
            labels.append(classes)
        return pixels.reshape(-1, PIXELS), np.concatenate(labels)


def open_folder(data_dir: Path) -> Folder:
    """Return the batch folder in `data_dir`; raises DataError where there is none."""
    python, binary = data_dir / PYTHON_FOLDER, data_dir / BINARY_FOLDER
    if python.is_dir():
        return _open_python(python)
    if binary.is_dir():
        path = binary / f"{META}.txt"
        text = _read_bytes(path, MAX_META_BYTES).decode("latin-1")
        names = [line for line in text.splitlines() if line]
        return Folder(binary, _label_names(names, path), None)
    raise DataError(
        f"{data_dir}: found no {PYTHON_FOLDER} and no {BINARY_FOLDER} in it",
        hint=f"mlpcli download --data-dir {shlex.quote(str(data_dir))}",
    )


def write_folder(
    folder: Path,
    label_names: Sequence[str],
    train: tuple[Images, Labels],
    test: tuple[Images, Labels],
) -> None:
    """Write images and labels as the official Python batches: five of training and one of test.

    `folder` must exist; the number of training images must divide by five.
    """
    count = len(TRAIN_BATCHES)
    meta = {
        "num_cases_per_batch": len(train[0]) // count,
        "label_names": list(label_names),
        "num_vis": PIXELS,
    }
    (folder / META).write_bytes(pickle.dumps(meta, protocol=2))
    parts = [*zip(np.split(train[0], count), np.split(train[1], count), strict=True), test]
    for name, (images, labels) in zip(TRAIN_BATCHES + TEST_BATCHES, parts, strict=True):
        batch = {
            "batch_label": name,
            "labels": labels.tolist(),
            "data": images,
            "filenames": [f"{label_names[k]}_{i:05d}.png" for i, k in enumerate(labels)],
        }
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))


def _open_python(folder: Path) -> Folder:
    path = folder / META
    meta = read_pickle(_read_bytes(path, MAX_META_BYTES), path)
    if not isinstance(meta, dict) or not isinstance(meta.get("label_names"), list):
        raise DataError(f"{path}: expected a dictionary with label_names")
    rows = meta.get("num_cases_per_batch")
    if type(rows) is not int or not 1 <= rows <= MAX_BATCH_ROWS:
        raise DataError(f"{path}: expected num_cases_per_batch from 1 to {MAX_BATCH_ROWS}")
    return Folder(folder, _label_names(meta["label_names"], path), rows)


def _label_names(names: list[Any], path: Path) -> tuple[str, ...]:
    if not 2 <= len(names) <= 256 or not all(
        isinstance(n, str) and len(n) <= MAX_NAME and n.isprintable() for n in names
    ):
        raise DataError(f"{path}: expected the names of 2 to 256 classes, each a short text")
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"{path}: found two classes named {twice[0]}")
    return tuple(names)


def _read_binary(path: Path) -> tuple[Images, Labels]:
    """Read rows of one label byte and 3072 pixels."""
    data = _read_bytes(path, MAX_BINARY_BYTES)
    if not data or len(data) % (PIXELS + 1):
        raise DataError(f"{path}: found {len(data)} bytes, expected a multiple of {PIXELS + 1}")
    rows = np.frombuffer(data, np.uint8).reshape(-1, PIXELS + 1)
    return rows[:, 1:], rows[:, 0].astype(np.intp)


def _read_python(path: Path) -> tuple[Images, Labels]:
    """Read a dictionary with `data`, an array of uint8, and `labels`, a list."""
    batch = read_pickle(_read_bytes(path, MAX_BATCH_BYTES), path)
    if not isinstance(batch, dict) or not {"data", "labels"} <= batch.keys():
        raise DataError(f"{path}: expected a dictionary with data and labels")
    labels = batch["labels"]
    if not isinstance(labels, list) or not all(type(k) is int and 0 <= k < 256 for k in labels):
        raise DataError(f"{path}: expected labels to be a list of small whole numbers")
    images = _pixels(batch["data"], path)
    if len(images) != len(labels):
        raise DataError(f"{path}: found {len(images)} images but {len(labels)} labels")
    return images, np.array(labels, np.intp)


def _pixels(value: Any, path: Path) -> Images:
    """Return the (rows, 3072) array that a recorded call describes; protocol 5 has `frombuffer`."""
    match value:
        case Call(
            "reconstruct",
            (Global("ndarray"), (0,), _),
            (1, (rows, 3072), dtype, bool(order), content),
        ) | Call("frombuffer", (content, dtype, (rows, 3072), "C" | "F" as order), None) if (
            dtype == UINT8 and type(rows) is int and 1 <= rows <= MAX_BATCH_ROWS
        ):
            pass
        case _:
            raise DataError(f"{path}: expected data to be an array of uint8, (rows, {PIXELS})")
    if not isinstance(content, (bytes, memoryview)):
        raise DataError(f"{path}: expected the pixels to be bytes")
    if len(content) != rows * PIXELS:
        raise DataError(f"{path}: found {len(content)} pixel bytes, expected {rows * PIXELS}")
    flat = np.frombuffer(content, np.uint8)
    return flat.reshape((rows, PIXELS), order="F" if order in (True, "F") else "C")


def _read_bytes(path: Path, limit: int) -> bytes:
    with reading(path, DataError):
        if not path.exists():
            again = f"mlpcli download --force --data-dir {shlex.quote(str(path.parents[1]))}"
            raise DataError(f"{path}: missing", hint=again)
        with open_regular(path) as file:
            data = file.read(limit + 1)
    if len(data) > limit:
        raise DataError(f"{path}: over {limit} bytes, too long for a batch of CIFAR-10")
    return data
