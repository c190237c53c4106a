"""Files that somebody else has made: hostile ones, spoiled ones, and surprising ones."""

from __future__ import annotations

import copyreg
import functools
import os
import pickle
import pickletools
import random
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from conftest import SHIPPED, unpack

from faults import archives, configs, pickles
from faults.mutations import mutated, mutations
from faults.rows import Case, row
from mlpcli.cifar10 import batches, install
from mlpcli.config import loading as config
from mlpcli.config.settings import KEYS, Config
from mlpcli.config.strict_yaml import Reader
from mlpcli.errors import ConfigError, DataError, MlpcliError


def refused(
    kind: type[MlpcliError], names: str, call: Callable[..., object], *arguments: object
) -> None:
    """Assert that the call is refused, in one short line that names the file."""
    try:
        call(*arguments)
    except kind as error:
        line = str(error)
    else:
        raise AssertionError("was not refused")
    assert len(line.splitlines()) == 1, line
    assert len(line) < 500, line
    assert names in line, line


def to_pipe(path: Path) -> None:
    os.mkfifo(path)


def to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def to_sparse_file(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


# What may stand where a file of bytes is expected.
ODD_FILES = {
    "a pipe that nobody writes to": to_pipe,
    "a link to a device without an end": to_device,
    "a link to itself": lambda path: path.symlink_to(path),
    "a folder": lambda path: path.mkdir(),
    "a file of a TiB": to_sparse_file,
}


# Row 8: batch files.


@functools.cache
def small_pickles() -> dict[str, list[tuple[bytes, list[int]]]]:
    """Return valid batches, and metas, in every protocol, each with the offsets of its opcodes."""
    images = np.arange(2 * 3072, dtype=np.uint32).astype(np.uint8).reshape(2, 3072)
    texts = {"batch_label": "x", "labels": [3, 1], "data": images, "filenames": ["a.png", "b.png"]}
    in_bytes = {b"data": np.asfortranarray(images), b"labels": [3, 1], b"filenames": [b"a", b"b"]}
    meta = {"num_cases_per_batch": 2, "label_names": ["a", "b", "c", "d"], "num_vis": 3072}
    made = {"data_batch_1": (texts, in_bytes), "batches.meta": (meta,)}
    return {
        name: [
            (raw, [at for _, _, at in pickletools.genops(raw)])
            for value in values
            for protocol in (2, 3, 4, 5)
            for raw in [pickle.dumps(value, protocol)]
        ]
        for name, values in made.items()
    }


def read_batch(data_dir: Path) -> None:
    """Read the batch that was put there; what is read has to be one."""
    with batches.open_folder(data_dir) as folder:
        images, labels = folder.read(("data_batch_1",))
    assert images.dtype == np.uint8
    assert images.shape == (len(labels), 3072)
    assert set(labels.tolist()) <= set(range(len(folder.label_names)))


def with_pickles(parent: str, **files: bytes) -> Path:
    """Write a batch and a meta to a data directory; return it."""
    folder = Path(parent) / "data" / batches.PYTHON_FOLDER
    folder.mkdir(parents=True)
    contents = {"data_batch_1": pickles.batch(), "batches.meta": pickles.meta()} | files
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder.parent


def try_hostile_pickle(name: str) -> None:
    with tempfile.TemporaryDirectory() as parent:
        ran, file = Path(parent) / "ran", "data_batch_1"
        if name in pickles.RUNNING:
            if 0xF0 not in copyreg._inverted_registry:  # type: ignore[attr-defined]
                copyreg.add_extension("os", "system", 0xF0)
            data_dir = with_pickles(parent, data_batch_1=pickles.RUNNING[name](f"touch {ran}"))
        elif name in pickles.REFUSED:
            data_dir = with_pickles(parent, data_batch_1=pickles.REFUSED[name]())
        elif name in pickles.REFUSED_META:
            file = "batches.meta"
            data_dir = with_pickles(parent, **{file: pickles.REFUSED_META[name]()})
        else:
            data_dir = with_pickles(parent)
            path = data_dir / batches.PYTHON_FOLDER / file
            path.unlink()
            ODD_FILES[name](path)
        refused(DataError, file, read_batch, data_dir)
        assert not ran.exists()


def try_mutated_pickle(seed: str) -> None:
    rng = random.Random(seed)
    name = rng.choice(("data_batch_1",) * 4 + ("batches.meta",))
    raw, spots = rng.choice(small_pickles()[name])
    with tempfile.TemporaryDirectory() as parent:
        meta, _ = small_pickles()["batches.meta"][0]
        data_dir = with_pickles(parent, **{"batches.meta": meta, name: mutated(rng, raw, spots)})
        try:
            read_batch(data_dir)
        except DataError as error:
            assert len(str(error).splitlines()) == 1, error
            assert batches.PYTHON_FOLDER in str(error), error


@row(8, "a hostile pickle in a batch file", cases=20_100, few=1000, confined=True)
def hostile_pickles(seed: int) -> Iterator[Case]:
    for name in (*pickles.RUNNING, *pickles.REFUSED, *pickles.REFUSED_META, *ODD_FILES):
        yield name, functools.partial(try_hostile_pickle, name)
    yield from mutations(seed, try_mutated_pickle)


# Row 9: archives.


def tree(folder: Path) -> dict[str, bytes | None]:
    """Return what stands in a folder: the bytes of files, by their paths."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if path.name != "a.tar.gz"
    }


def unpack_safely(prepare: Callable[[Path], object]) -> dict[str, bytes] | None:
    """Unpack an archive over an old data set; return the files, or None where it is refused.

    Refused, it has to leave everything as it was.
    """
    with tempfile.TemporaryDirectory() as parent:
        data_dir = Path(parent) / "data"
        folder = data_dir / batches.PYTHON_FOLDER
        folder.mkdir(parents=True)
        (folder / "old").write_text("what stood there before")
        (Path(parent) / "beside").write_text("what stands beside")
        prepare(data_dir / "a.tar.gz")
        before = tree(Path(parent))
        try:
            unpack(data_dir / "a.tar.gz", data_dir)
        except DataError as error:
            assert len(str(error).splitlines()) == 1, error
            assert f"{data_dir / 'a.tar.gz'}: " in str(error), error
            assert len(str(error)) < 500, error
            assert tree(Path(parent)) == before
            return None
        finally:
            assert not archives.OUTSIDE.exists()
        assert install.verify(data_dir) == (10, 2)
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        del before["data/cifar-10-batches-py/old"]
        new = {f"data/cifar-10-batches-py/{name}": content for name, content in files.items()}
        assert tree(Path(parent)) == before | new
        return files


def try_crafted_archive(name: str) -> None:
    if name in ODD_FILES:
        assert unpack_safely(ODD_FILES[name]) is None
        return
    content = (archives.ACCEPTED | archives.REFUSED)[name]()
    files = unpack_safely(lambda path: path.write_bytes(content))
    if name in archives.REFUSED:
        assert files is None, "was not refused"
    else:
        assert files is not None, "was refused"
        files.pop("readme.html", None)
        assert files == archives.small_set()


def try_mutated_archive(seed: str) -> None:
    rng = random.Random(seed)
    tar = archives.packed_by_tarfile(rng.choice(list(archives.FORMATS)))
    if rng.random() < 0.5:
        headers = [at for at in range(0, len(tar), 512) if tar[at + 257 : at + 262] == b"ustar"]
        spots = [at + field for at in headers for field in (0, 100, 124, 148, 156, 157, 257, 345)]
        tar = mutated(rng, tar, spots)
        if rng.random() < 0.7:  # with a right checksum it gets further
            for at in headers:
                tar = tar[:at] + archives.sealed(tar[at:]) + tar[at + 512 :]
        packed = archives.pack(tar)
    else:
        packed = archives.pack(tar)
        packed = mutated(rng, packed, [*range(12), *range(len(packed) - 8, len(packed))])
    files = unpack_safely(lambda path: path.write_bytes(packed))
    for name, content in (files or {}).items():
        header = re.escape(f"{batches.PYTHON_FOLDER}/{name}\0".encode())
        starts = [match.start() + 512 for match in re.finditer(header, tar)]
        assert any(tar[at : at + len(content)] == content for at in starts), name


@row(9, "a hostile archive", cases=5_080, few=150, confined=True)
def hostile_archives(seed: int) -> Iterator[Case]:
    for name in (*archives.ACCEPTED, *archives.REFUSED, *ODD_FILES):
        yield name, functools.partial(try_crafted_archive, name)
    yield from mutations(seed, try_mutated_archive)


# Row 10: configurations.


def load_text(text: str | bytes) -> Config:
    """Load a text as x.yaml, beside the shipped configurations."""
    with tempfile.TemporaryDirectory() as parent:
        for shipped in SHIPPED:
            (Path(parent) / shipped.name).symlink_to(shipped)
        path = Path(parent) / "x.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
        return config.load(path)


def try_wrong_config(text: str | bytes, message: str) -> None:
    refused(ConfigError, message, load_text, text)


def try_mutated_config(seed: str) -> None:
    rng = random.Random(seed)
    texts = [path.read_text() for path in SHIPPED]
    texts.append(config.to_yaml(Config(name="x")))
    split = rng.choice((r"(?s).", r"(?s).*?\n", r"(?s)\w+|\s+|[^\w\s]"))
    parts = re.findall(split, rng.choice(texts))
    for _ in range(rng.randint(1, 3)):
        at, other = rng.randrange(len(parts)), rng.randrange(len(parts))
        match rng.randrange(4):
            case 0:
                parts[at], parts[other] = parts[other], parts[at]
            case 1:
                parts.insert(at, rng.choice((parts[other], rng.choice(configs.SURPRISES))))
            case 2:
                parts[at] = rng.choice(configs.SURPRISES)
            case 3:
                parts[at] = ""
    try:
        loaded = load_text("".join(parts))
    except ConfigError as error:
        assert len(str(error).splitlines()) == 1, error
        assert re.match(r"\S+\.yaml(:\d+)?: ", str(error)), error
        return
    again = Reader("again", KEYS).read(config.to_yaml(loaded))
    assert config.build(again) == loaded


@row(10, "YAML surprises", cases=5_100, few=300, confined=True)
def yaml_surprises(seed: int) -> Iterator[Case]:
    for text, message in configs.WRONG:
        yield f"{text[:60]!r}", functools.partial(try_wrong_config, text, message)
    yield from mutations(seed, try_mutated_config)
