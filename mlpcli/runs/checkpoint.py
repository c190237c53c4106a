"""Checkpoints: .npz files of plain arrays and JSON text, replaced atomically.

W1, b1, W2, b2, … act on flattened pixels in [0, 1]; `metadata` is JSON text, `digest` a SHA-256 of
everything else. `last.npz` also holds what a resumed run needs, under `resume/`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import re
import shlex
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mlpcli.config.loading import from_dict, to_dict
from mlpcli.config.settings import Config
from mlpcli.errors import CheckpointError, in_one_line
from mlpcli.files import open_regular, reading, replacing
from mlpcli.nn.model import Model
from mlpcli.nn.network import named_shapes
from mlpcli.quantities import ACCURACY, COUNT, FINITE, Quantity, optional
from mlpcli.runs.folder import CHECKPOINTS
from mlpcli.runs.reading import parse_json

FORMAT = 3
METADATA, DIGEST, RESUME = "metadata", "digest", "resume/"

MAX_BYTES = 640 * 2**20  # of a file: more than the largest network of config.py needs
MAX_METADATA_BYTES = 2**18
CHUNK = 2**20  # bytes read at once

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Checkpoint:
    """A network on pixels, how and where it was trained, and for a last one how to resume."""

    config: Config
    label_names: tuple[str, ...]
    data_digest: str
    environment: dict[str, Any]
    epoch: int
    step: int
    val_accuracy: float | None
    val_loss: float | None
    resume_values: dict[str, Any] = field(default_factory=dict)
    named_params: Arrays = field(default_factory=dict)
    resume_arrays: Arrays = field(default_factory=dict)

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Those of the saved network: it takes pixels, whatever it was trained on."""
        return self.config.model.layer_sizes(3072, len(self.label_names))

    def model(self, batch_size: int) -> Model:
        """Return the network, on pixels in [0, 1], with its loss, in the dtype it was saved in."""
        config, dtype = self.config, self.named_params["W1"].dtype
        model = Model(self.layer_sizes, config.model.activation, config.loss, batch_size, dtype)
        for name, view in model.network.named_params.items():
            view[...] = self.named_params[name]
        return model


def save(path: Path, checkpoint: Checkpoint, keep_as: Path | None = None) -> None:
    """Write a checkpoint so that after any failure the old file or the new one is there, complete.

    The old file is kept as `keep_as`, if given. Raises MlpcliError where the disk or its
    permissions do not allow it; the old file is kept.
    """
    config, names = to_dict(checkpoint.config), checkpoint.label_names
    metadata = {"format": FORMAT, "config": config, "label_names": names}
    metadata |= {name: getattr(checkpoint, name) for name in _KINDS}
    arrays = {METADATA: np.array(json.dumps(metadata))} | checkpoint.named_params
    arrays |= {RESUME + name: array for name, array in checkpoint.resume_arrays.items()}
    arrays[DIGEST] = np.array(_digest(arrays))
    with replacing(path, keep_as) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def load(path: Path) -> Checkpoint:
    """Read a checkpoint; raises CheckpointError, naming the file, for anything but a valid one.

    The error's hint names a valid one beside it, if there is any: none is used silently.
    """
    try:
        return _load(path)
    except CheckpointError as error:
        raise _with_valid_neighbour(error, path) from None


def _with_valid_neighbour(error: CheckpointError, path: Path) -> CheckpointError:
    """Return the error with what a valid checkpoint beside the invalid one can be used for."""
    resumable = CHECKPOINTS[:2]
    for other in (path.with_name(name) for name in CHECKPOINTS if name != path.name):
        with contextlib.suppress(CheckpointError):
            saved = _load(other)
            use = "train --resume" if {path.name, other.name} <= {*resumable} else "eval"
            return CheckpointError(
                f"{error}; {other.name} is valid: epoch {saved.epoch}, step {saved.step}",
                hint=f"mlpcli {use} {shlex.quote(str(other))}",
            )
    return error


def _load(path: Path) -> Checkpoint:
    try:
        with reading(path, CheckpointError, "checkpoint"), open_regular(path) as file:
            return _read(file, str(path))
    except CheckpointError:
        raise
    except Exception as error:  # whatever a truncated, foreign or crafted file leads to
        found = in_one_line(error)
        raise CheckpointError(f"{path}: not a valid checkpoint of mlpcli: {found}") from None


# NumPy's own reader allocates what a header declares, unpacks what is compressed, and takes the
# last of two members with one name. Here all headers are read first, and nothing is unpacked.


def _read(file: IO[bytes], source: str) -> Checkpoint:
    size = os.fstat(file.fileno()).st_size
    if size > MAX_BYTES:
        raise ValueError(f"it has {size:,} bytes, expected at most {MAX_BYTES:,}")
    with zipfile.ZipFile(_Bounded(io.FileIO(file.fileno(), closefd=False))) as archive:
        infos = archive.infolist()
        headers = {info.filename.removesuffix(".npy"): _header(archive, info) for info in infos}
        if len(headers) < len(infos) or sum(info.file_size for info in infos) > size:
            raise ValueError("its arrays overlap")
        if METADATA not in headers or headers[METADATA].info.file_size > MAX_METADATA_BYTES:
            raise ValueError("it has no metadata")
        facts = _facts(parse_json(str(headers[METADATA].read(archive))), source)
        _require_arrays(headers, facts)
        arrays = {name: header.read(archive) for name, header in headers.items()}
    if str(arrays.pop(DIGEST)) != _digest(arrays):
        raise ValueError("its contents are not those that were saved (SHA-256)")
    del arrays[METADATA]
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{name} is not finite")
    resume = {k.removeprefix(RESUME): arrays.pop(k) for k in [*arrays] if k.startswith(RESUME)}
    return replace(facts, named_params=arrays, resume_arrays=resume)


class _Bounded(io.BufferedReader):
    """A file read in small pieces: zipfile reads a directory, however long, at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > CHUNK:
            raise ValueError("its directory is too long for an .npz file")
        return super().read(size)


@dataclass(frozen=True)
class _Header:
    """The header of an array, which precedes its contents in its member of the archive."""

    info: zipfile.ZipInfo
    length: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def read(self, archive: zipfile.ZipFile) -> NDArray[Any]:
        """Return the array; raises BadZipFile where the member's checksum is wrong."""
        array = np.empty(self.shape, self.dtype)
        contents, at = array.reshape(-1).view(np.uint8), 0
        with archive.open(self.info) as member:
            member.read(self.length)
            while piece := member.read(CHUNK):
                contents[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
                at += len(piece)
        return array


_HEADER = re.compile(
    rb"\{'descr': '([<>](?:f4|f8|i8|U\d{1,6}))', 'fortran_order': False, "
    rb"'shape': \((?:(\d{1,9}),(?: (\d{1,9}))?)?\), \} *\n"
)


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Header:
    """Read a member's header, as np.savez writes it for the few kinds of array there are."""
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise ValueError(f"{info.filename} is compressed")
    with archive.open(info) as member:
        magic, length = member.read(8), int.from_bytes(member.read(2), "little")
        found = _HEADER.fullmatch(member.read(length))
    if magic != b"\x93NUMPY\1\0" or not found:
        raise ValueError(f"{info.filename} is no array of numbers or text")
    shape = tuple(int(n) for n in found.groups()[1:] if n is not None)
    header = _Header(info, 10 + length, np.dtype(found[1].decode()), shape)
    if header.length + math.prod(shape) * header.dtype.itemsize != info.file_size:
        raise ValueError(f"{info.filename} is not as long as its header declares")
    return header


def _facts(metadata: dict[str, Any], source: str) -> Checkpoint:
    """Return a checkpoint without its arrays; raises ValueError, KeyError, or ConfigError."""
    if metadata["format"] != FORMAT:
        raise ValueError(f"format {metadata['format']!r}, expected {FORMAT}")
    names = metadata["label_names"]
    if not isinstance(names, list) or not 2 <= len(names) <= 256:
        raise ValueError("label_names are not a list of names")
    if not all(isinstance(name, str) and name.isprintable() for name in names):
        raise ValueError("label_names are not printable text")
    if len({*names}) < len(names):
        raise ValueError("two of its label_names are the same")
    for name, kind in _KINDS.items():
        value = metadata[name]
        if not (kind.holds(value) if isinstance(kind, Quantity) else type(value) is kind):
            expected = str(kind) if isinstance(kind, Quantity) else f"a {kind.__name__}"
            raise ValueError(f"its {name} is {repr(value)[:40]}, expected {expected}")
    config = from_dict(metadata["config"], source)
    if config.data.val_size == 0 and metadata["val_accuracy"] is not None:
        raise ValueError("it has a validation accuracy, but data.val_size is 0")
    return Checkpoint(
        config=config,
        label_names=tuple(names),
        **{name: metadata[name] for name in _KINDS},
    )


# The metadata that is saved and read as it is, and what each is.
_KINDS: dict[str, Quantity | type] = {
    "data_digest": str,
    "environment": dict,
    "epoch": COUNT,
    "step": COUNT,
    "val_accuracy": optional(ACCURACY),
    "val_loss": optional(FINITE),
    "resume_values": dict,
}


def _require_arrays(headers: dict[str, _Header], facts: Checkpoint) -> None:
    """Raise ValueError unless the arrays are those of the configured network, by their headers.

    What is under `resume/` is checked by `Training.restore`.
    """
    shapes = named_shapes(facts.layer_sizes)
    dtype = np.dtype(facts.config.training.dtype)
    resume = [name for name in headers if name.startswith(RESUME)]
    expected = [METADATA, *shapes, *resume, DIGEST]
    if list(headers) != expected:
        raise ValueError(f"found {', '.join(headers)}, expected {', '.join(expected)}")
    for name, shape in shapes.items():
        if (headers[name].shape, headers[name].dtype) != (shape, dtype):
            found = f"{name} is {headers[name].shape} {headers[name].dtype}"
            raise ValueError(f"{found}, expected {shape} {dtype}")


def _digest(arrays: Arrays) -> str:
    """Return the SHA-256, in hexadecimal, over names, dtypes, shapes and contents."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
