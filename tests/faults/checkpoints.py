"""Checkpoints that are spoiled, foreign, or made to harm whoever reads them."""

from __future__ import annotations

import copy
import functools
import io
import json
import os
import pickle
import random
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from faults.mutations import mutated, mutations
from faults.rows import Case, row
from faults.saver import is_small, small
from faults.shell import new_folder
from mlpcli.errors import CheckpointError
from mlpcli.runs import checkpoint

Arrays = dict[str, np.ndarray]


@functools.cache
def whole() -> bytes:
    """The bytes of a good checkpoint."""
    with new_folder() as path:
        checkpoint.save(path / "last.npz", small(1))
        return (path / "last.npz").read_bytes()


@functools.cache
def structure() -> list[int]:
    """Where its zip records and array headers stand."""
    data = whole()
    marks = (b"PK\3\4", b"PK\1\2", b"PK\5\6", b"\x93NUMPY", b"{'descr'", b"'shape'")
    return [i for i in range(len(data)) if data.startswith(marks, i)]


def arrays() -> Arrays:
    with np.load(io.BytesIO(whole())) as file:
        return dict(file)


def packed(members: Arrays, *, compressed: bool = False) -> bytes:
    out = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(out, **members)
    return out.getvalue()


def signed(**changes: object) -> bytes:
    """A checkpoint with other arrays, and the right digest for them: its maker knows how."""
    members = {k: v for k, v in (arrays() | changes).items() if k != "digest" and v is not None}
    return packed(members | {"digest": np.array(checkpoint._digest(members))})


def told(**changes: object) -> bytes:
    """A checkpoint with other metadata, signed."""
    metadata = json.loads(str(arrays()["metadata"]))
    return signed(metadata=np.array(json.dumps(metadata | changes)))


def zipped(members: list[tuple[str, bytes]], kind: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", kind) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it knows that doubled names are none
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, kind)
    return out.getvalue()


def unzipped() -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(whole())) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def with_member(name: str, content: bytes) -> bytes:
    return zipped([(n, content if n == name else c) for n, c in unzipped()])


def array_file(descr: str, shape: str, content: bytes = b"", version: bytes = b"\1\0") -> bytes:
    """An .npy file that declares what it is told to."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header + content


class Runs:
    """Makes a folder if pickle builds it."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("ran",)


CRAFTED: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "two bytes": lambda: b"PK",
    "half": lambda: whole()[: len(whole()) // 2],
    "without its last byte": lambda: whole()[:-1],
    "a picture": lambda: b"\x89PNG\r\n\x1a\n" + bytes(5000),
    "a pickle": lambda: pickle.dumps(Runs()),
    "an .npy of an object": lambda: with_member(
        "W1.npy", array_file("'|O'", "(1,)", pickle.dumps(Runs()))
    ),
    "a pickle as a member": lambda: with_member("W1.npy", pickle.dumps(Runs())),
    "another tool's .npz": lambda: packed({"weights": np.zeros((3072, 4), np.float32)}),
    "an unsigned one": lambda: packed({k: v for k, v in arrays().items() if k != "digest"}),
    "another's digest": lambda: packed(arrays() | {"digest": np.array("0" * 64)}),
    "two members of one name": lambda: zipped([*unzipped(), unzipped()[1]]),
    "a member more": lambda: signed(W3=np.zeros((3, 3), np.float32)),
    "a member less": lambda: signed(b2=None),
    "a member that is no array": lambda: with_member("W1.npy", b"<html></html>"),
    "members in another order": lambda: packed(dict(reversed(arrays().items()))),
    "compressed members": lambda: packed(arrays(), compressed=True),
    "bytes after an array": lambda: with_member("b2.npy", dict(unzipped())["b2.npy"] + b"x"),
    "a wrong sum": lambda: whole().replace(struct.pack("<f", 1.0), struct.pack("<f", 2.0), 1),
    "NaN": lambda: signed(b2=np.full(3, np.nan, np.float32)),
    "an array of another width": lambda: signed(b2=np.zeros(3)),
    "an array of another shape": lambda: signed(b2=np.zeros((3, 1), np.float32)),
    "big-endian numbers": lambda: signed(b2=np.zeros(3, ">f4")),
    "columns first": lambda: signed(W1=np.asfortranarray(arrays()["W1"])),
    "a structured array": lambda: signed(b2=np.zeros(3, [("a", "f4")])),
    "metadata that is no JSON": lambda: signed(metadata=np.array("{")),
    "metadata as deep as long": lambda: signed(metadata=np.array("[" * 60_000)),
    "metadata of a number": lambda: signed(metadata=np.array(1.0)),
    "format 1": lambda: told(format=1),
    "a step in words": lambda: told(step="seven"),
    "a step below zero": lambda: told(step=-1, epoch=-1),
    "a loss that is not finite": lambda: told(val_loss=float("inf")),
    "an unknown key": lambda: told(config={"name": "a", "more": 1}),
    "a network of gigabytes": lambda: told(config={"name": "a", "model": {"hidden": [10**6]}}),
    "names that steer a terminal": lambda: told(label_names=["a", "b", "\x1b[2J"]),
    "a path as a name": lambda: zipped([*unzipped(), ("../../escaped.npy", b"x")]),
    "nine thousand members": lambda: zipped([(f"{i}.npy", b"") for i in range(9000)]),
    "100,000 members": lambda: zipped([(f"{i}", b"") for i in range(100_000)]),
}


@row(6, "corrupt, truncated, hostile or foreign .npz", cases=20_038, few=400, confined=True)
def spoiled(seed: int) -> Iterator[Case]:
    for name in CRAFTED:
        yield name, partial(_refuse_crafted, name)
    yield from mutations(seed, _read_or_refuse)


def _refuse_crafted(name: str) -> None:
    _refused(lambda path: path.write_bytes(CRAFTED[name]()))


def _refused(write: Callable[[Path], object]) -> None:
    """The reader says in one line which file it is, and which other one is whole."""
    with new_folder() as path:
        last, previous = path / "last.npz", path / "previous.npz"
        write(last)
        previous.write_bytes(whole())
        before = sorted(path.rglob("*"))
        try:
            checkpoint.load(last)
        except CheckpointError as error:
            assert str(error).startswith(f"{last}: ")
            assert len(str(error).splitlines()) == 1
            assert len(str(error)) < 500
            assert error.hint is not None
            assert error.hint.endswith(str(previous))
        else:
            raise AssertionError("it was read")
        assert sorted(path.rglob("*")) == before
        assert not Path("ran").exists()


def _read_or_refuse(seed: str) -> None:
    """A changed file is refused, unless the change is one that makes no difference."""
    content = mutated(random.Random(seed), whole(), structure())
    with new_folder() as path:
        last = path / "last.npz"
        last.write_bytes(content)
        try:
            found = checkpoint.load(last)
        except CheckpointError as error:
            assert str(error).startswith(f"{last}: ")
            assert len(str(error).splitlines()) == 1
        else:
            assert is_small(found)
            assert found.step == small(1).step


def sparse(content: bytes, size: int) -> Callable[[Path], None]:
    """A file whose end is `content` and which is said to be so long; the rest takes no disk."""

    def write(path: Path) -> None:
        with path.open("wb") as file:
            file.seek(size - len(content))
            file.write(content)

    return write


def overlapping() -> bytes:
    """Ten thousand entries that all name the one member."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.npy", bytes(2**20))
        (info,) = archive.filelist
        for i in range(10_000):
            other = copy.copy(info)
            other.filename = f"{i:04}"
            archive.filelist.append(other)
    return out.getvalue()


def end_record(**changes: int) -> bytes:
    """The good checkpoint, its last record saying other numbers: of entries, or of bytes."""
    start = whole().rindex(b"PK\5\6")
    names = ("entries_here", "entries", "size", "offset")
    told = dict(zip(names, struct.unpack_from("<HHLL", whole(), start + 8), strict=True))
    record = struct.pack("<HHLL", *(told | changes).values())
    return whole()[: start + 8] + record + whole()[start + 20 :]


TERABYTES = "(100000000, 100000)"
BOMBS: dict[str, Callable[[], bytes]] = {
    "weights of terabytes": lambda: with_member("W1.npy", array_file("'<f4'", TERABYTES)),
    "a state of terabytes": lambda: with_member(
        "resume/order.npy", array_file("'<i8'", "(999999999, 999999999)")
    ),
    "metadata of terabytes": lambda: with_member("metadata.npy", array_file("'<U999999'", "()")),
    "a header of 64 KiB": lambda: with_member(
        "b2.npy", array_file("'<f4'", "(" + "3," * 30_000 + ")")
    ),
    "a header of 4 GiB": lambda: with_member(
        "b2.npy", b"\x93NUMPY\2\0" + struct.pack("<L", 2**32 - 1) + bytes(64)
    ),
    "256 MiB deflated": lambda: zipped([("W1.npy", bytes(2**28))], zipfile.ZIP_DEFLATED),
    "64 MiB in a few bytes": lambda: zipped([("W1.npy", bytes(2**26))], zipfile.ZIP_BZIP2),
    "10,000 entries of one member": overlapping,
    "a directory of 4 GiB": lambda: end_record(size=2**32 - 2),
    "a directory beyond its end": lambda: end_record(offset=2**32 - 2),
}
SPARSE: dict[str, int] = {"a file of a terabyte": 2**40, "a file of 639 MiB": 639 * 2**20}


@row(7, "header that declares terabytes, zip bomb", cases=12, confined=True)
def bombs(seed: int) -> Iterator[Case]:
    for name in BOMBS:
        yield name, partial(_defuse, name)
    for name, size in SPARSE.items():
        yield name, partial(_defuse_sparse, size)


def _defuse(name: str) -> None:
    _refused(lambda path: path.write_bytes(BOMBS[name]()))


def _defuse_sparse(size: int) -> None:
    weights = array_file("'<f4'", f"({size // 4096}, 1000)")
    _refused(sparse(zipped([("W1.npy", weights)]), size))
