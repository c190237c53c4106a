"""Reads and writes the batch files of CIFAR-10: `cifar-10-batches-py` and `cifar-10-batches-bin`.

An image is 3072 bytes: 1024 red, then 1024 green, then 1024 blue, each 32 rows of 32 pixels.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpcli.cifar10 import synthetic
from mlpcli.cifar10.formats import HEAD, kind, refuse_pointer
from mlpcli.cifar10.pickles import Call, Global, read_pickle
from mlpcli.errors import DataError, MlpcliError
from mlpcli.files import locked, open_regular, reading, reason

PIXELS = 3072
PYTHON_FOLDER = "cifar-10-batches-py"
BINARY_FOLDER = "cifar-10-batches-bin"
TRAIN_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST_BATCHES = ("test_batch",)
META, BINARY_META = "batches.meta", "batches.meta.txt"
STAGING = ".unpacking"  # in a data directory: where a new data set is made
REPLACED = f"{STAGING}/old"  # the data set that a new one is about to replace
SEARCH = getattr(os, "O_PATH", os.O_RDONLY)  # also a folder that others may not list
FOLDERS = (PYTHON_FOLDER, BINARY_FOLDER, REPLACED)  # of a data directory, in this order

LABEL_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
MAX_NEIGHBOURS = 1000  # entries of a folder among which a data set is looked for
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
    """A folder of batch files, held open: what takes its place meanwhile is not read.

    It has the names of the classes, and the images per batch if known.
    """

    path: Path
    descriptor: int
    is_binary: bool
    label_names: tuple[str, ...]
    batch_rows: int | None

    def read(self, batches: Sequence[str]) -> tuple[Images, Labels]:
        """Return images (N, 3072) and labels (N,) of the named batches, in order.

        Raises DataError for a batch that is missing, truncated, or not one of CIFAR-10.
        """
        labels = []
        for i, name in enumerate(batches):
            path = self.path / (f"{name}.bin" if self.is_binary else name)
            images, classes = self._batch(path)
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

    def _batch(self, path: Path) -> tuple[Images, Labels]:
        limit = MAX_BINARY_BYTES if self.is_binary else MAX_BATCH_BYTES
        try:
            data = _read_bytes(path, self.descriptor, limit)
        except MissingBatchError as error:
            raise DataError(str(error), hint=self._download()) from None
        return _read_binary(data, path) if self.is_binary else _read_python(data, path)

    def _download(self) -> str | None:
        """Return the command that writes these batches again; None where they are not known."""
        if self.path.name != PYTHON_FOLDER:
            return None
        data_dir = shlex.quote(str(self.path.parent))
        for names, rows, option in (
            (LABEL_NAMES, MAX_BATCH_ROWS, ""),
            (synthetic.LABEL_NAMES, synthetic.TRAIN_SIZE // len(TRAIN_BATCHES), "--synthetic "),
        ):
            if (self.label_names, self.batch_rows) == (names, rows):
                return f"mlpcli download --force {option}--data-dir {data_dir}"
        return None


class MissingBatchError(DataError):
    """A file of a data set is missing."""


@contextlib.contextmanager
def open_folder(data_dir: Path) -> Iterator[Folder]:
    """Hold open the batch folder in `data_dir`, or `data_dir` where it holds the batches itself.

    A data set that a killed process was about to replace is put back; where that is not possible,
    it is read from where it is. Raises DataError where there is none.
    """
    put_back(data_dir)
    with reading(data_dir, DataError, "folder"):
        path, descriptor = _open_first(data_dir)
    try:
        yield _described(path, descriptor)
    finally:
        os.close(descriptor)


def put_back(data_dir: Path) -> None:
    """Put back a data set that was moved for another one, which never came."""
    old, final = data_dir / REPLACED, data_dir / PYTHON_FOLDER
    # Who holds the folder is about to put something there, and a folder may be read-only.
    with contextlib.suppress(MlpcliError, OSError):
        if old.is_dir() and not os.path.lexists(final):
            with locked(data_dir, logging.getLogger(__name__).debug):
                if not os.path.lexists(final):
                    old.rename(final)
                old.parent.rmdir()  # unless a part of the new one is in it


def holds_batches(folder: Path) -> bool:
    """Whether this is the folder of the batches itself, under whatever name."""
    names = (META, BINARY_META, TRAIN_BATCHES[0], f"{TRAIN_BATCHES[0]}.bin")
    with contextlib.suppress(OSError):
        return any((folder / name).is_file() for name in names)
    return False


def holds_data_set(data_dir: Path) -> bool:
    """Whether a folder of batches is in this one, as far as it can be seen."""
    with contextlib.suppress(OSError):
        return any((data_dir / name).is_dir() for name in FOLDERS)
    return False


def _open_first(data_dir: Path) -> tuple[Path, int]:
    """Open the batch folder; return its path and its descriptor."""
    # Twice the first: it may be put in place while it is looked for elsewhere.
    places = [data_dir / name for name in (*FOLDERS, PYTHON_FOLDER)]
    for path in [*places, *([data_dir] if holds_batches(data_dir) else [])]:
        try:
            return path, os.open(path, SEARCH | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {reason(error)}") from None
    raise _none_in(data_dir)


def _none_in(data_dir: Path) -> DataError:
    """Return the error that says what is found in place of a data set."""
    quoted = shlex.quote(str(data_dir))
    if data_dir.is_file():
        return DataError(
            f"{data_dir}: a file, expected a folder that holds {PYTHON_FOLDER}",
            hint=f"mlpcli download --from {quoted}" if data_dir.suffix in (".gz", ".tgz") else None,
        )
    exists = data_dir.is_dir()
    if exists and (place := _near(data_dir)):
        return _elsewhere(data_dir, place)
    parents = (path for path in (data_dir, *data_dir.parents) if path.exists())
    may_write = os.access(next(parents, Path()), os.W_OK | os.X_OK)
    return DataError(
        f"{data_dir}: found no {PYTHON_FOLDER} and no {BINARY_FOLDER} in it"
        if exists
        else f"{data_dir}: no such folder, expected one that holds {PYTHON_FOLDER}",
        hint=f"mlpcli download --data-dir {quoted}" if may_write else None,
    )


def _near(data_dir: Path) -> Path | None:
    """Return a folder with a data set, one level below or up to two levels above."""
    with contextlib.suppress(OSError), os.scandir(data_dir) as entries:
        below = sorted(data_dir / entry.name for entry in islice(entries, MAX_NEIGHBOURS))
        above = islice(data_dir.absolute().parents, 2)
        return next(filter(holds_data_set, chain(below, above)), None)
    return None


def _elsewhere(data_dir: Path, place: Path) -> DataError:
    return DataError(
        f"{data_dir}: found no data set in it, but in {place}", hint=("--data-dir", str(place))
    )


def _described(path: Path, descriptor: int) -> Folder:
    """Return a folder with what its meta file says."""
    has_meta, is_binary = (
        os.access(name, os.F_OK, dir_fd=descriptor) for name in (META, BINARY_META)
    )
    if is_binary and not has_meta:
        meta = path / BINARY_META
        text = _read_bytes(meta, descriptor, MAX_META_BYTES).decode("latin-1")
        lines = [line for line in text.splitlines() if line]
        return Folder(path, descriptor, True, _label_names(lines, meta), None)
    if not has_meta and holds_data_set(path):  # unpacked into a folder of the same name
        raise _elsewhere(path.parent, path)
    meta = path / META
    labels, rows = _read_meta(_read_bytes(meta, descriptor, MAX_META_BYTES), meta)
    return Folder(path, descriptor, False, labels, rows)


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


def _read_meta(data: bytes, path: Path) -> tuple[tuple[str, ...], int]:
    """Return the names of the classes, and the images per batch."""
    meta = read_pickle(data, path)
    if not isinstance(meta, dict) or not isinstance(meta.get("label_names"), list):
        raise DataError(f"{path}: expected a dictionary with label_names")
    rows = meta.get("num_cases_per_batch")
    if type(rows) is not int or not 1 <= rows <= MAX_BATCH_ROWS:
        raise DataError(f"{path}: expected num_cases_per_batch from 1 to {MAX_BATCH_ROWS}")
    return _label_names(meta["label_names"], path), rows


def _label_names(names: list[Any], path: Path) -> tuple[str, ...]:
    if not 2 <= len(names) <= 256 or not all(
        isinstance(n, str) and len(n) <= MAX_NAME and n.isprintable() for n in names
    ):
        raise DataError(f"{path}: expected the names of 2 to 256 classes, each a short text")
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"{path}: found two classes named {twice[0]}")
    return tuple(names)


def _read_binary(data: bytes, path: Path) -> tuple[Images, Labels]:
    """Read rows of one label byte and 3072 pixels."""
    if not data or len(data) % (PIXELS + 1):
        raise DataError(f"{path}: found {len(data)} bytes, expected a multiple of {PIXELS + 1}")
    rows = np.frombuffer(data, np.uint8).reshape(-1, PIXELS + 1)
    return rows[:, 1:], rows[:, 0].astype(np.intp)


def _read_python(data: bytes, path: Path) -> tuple[Images, Labels]:
    """Read a dictionary with `data`, an array of uint8, and `labels`, a list."""
    if found := kind(data[:HEAD]):
        raise DataError(f"{path}: found {found}, expected a batch of CIFAR-10")
    batch = read_pickle(data, path)
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


def _read_bytes(path: Path, folder: int, limit: int) -> bytes:
    """Return the bytes of a file in the folder that is open as `folder`."""
    with reading(path, DataError):
        try:
            file = open_regular(path.name, folder)
        except FileNotFoundError:
            raise _missing(path, folder) from None
        with file:
            data = file.read(limit + 1)
    refuse_pointer(path, data)
    if len(data) > limit:
        raise DataError(f"{path}: over {limit} bytes, too long for a batch of CIFAR-10")
    return data


def _missing(path: Path, folder: int) -> DataError:
    """Return the error for a file that the open folder lacks."""
    with contextlib.suppress(OSError):
        if os.path.samestat(path.parent.stat(), os.fstat(folder)):
            link = " (a link to a file that is not there)" if path.is_symlink() else ""
            return MissingBatchError(f"{path}: missing{link}")
    return DataError(f"{path.parent}: was replaced while it was read", hint=())
