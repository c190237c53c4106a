"""Archives: exact members, or nothing at all."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import unpack

from mlpcli.cifar10 import batches, install
from mlpcli.errors import DataError

Change = Callable[[tarfile.TarFile], None]


def pack(shapes_dir: Path, target: Path, change: Change = lambda tar: None, skip: str = "") -> Path:
    """Pack the small data set as the official archive is, with a change."""
    path = target / "a.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        folder = shapes_dir / batches.PYTHON_FOLDER
        tar.add(folder, folder.name, recursive=False)
        for file in sorted(folder.iterdir()):
            if file.name != skip:
                tar.add(file, f"{folder.name}/{file.name}")
        change(tar)
    return path


def member(
    name: str, content: bytes = b"x", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> Change:
    def add(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        info.size = len(content) if kind == tarfile.REGTYPE else 0
        tar.addfile(info, io.BytesIO(content))

    return add


def test_a_data_set_is_unpacked_completely(shapes_dir: Path, tmp_path: Path) -> None:
    path = pack(shapes_dir, tmp_path, member(f"{batches.PYTHON_FOLDER}/readme.html"))
    unpack(path, tmp_path)
    assert install.verify(tmp_path) == (200, 40)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar.gz", batches.PYTHON_FOLDER]


@pytest.mark.parametrize(
    ("name", "kind", "link"),
    [
        ("../escaped", tarfile.REGTYPE, ""),
        ("/tmp/escaped", tarfile.REGTYPE, ""),
        ("cifar-10-batches-py/../../escaped", tarfile.REGTYPE, ""),
        ("cifar-10-batches-py/more", tarfile.REGTYPE, ""),
        ("cifar-10-batches-py/data_batch_1", tarfile.REGTYPE, ""),
        ("cifar-10-batches-py/readme.html", tarfile.SYMTYPE, "/etc/passwd"),
        ("cifar-10-batches-py/readme.html", tarfile.LNKTYPE, "cifar-10-batches-py/test_batch"),
        ("cifar-10-batches-py/readme.html", tarfile.FIFOTYPE, ""),
        ("cifar-10-batches-py/readme.html", tarfile.CHRTYPE, ""),
        ("cifar-10-batches-py/readme.html", tarfile.DIRTYPE, ""),
        ("other", tarfile.DIRTYPE, ""),
    ],
)
def test_a_member_that_is_no_part_of_cifar10_refuses_all(
    shapes_dir: Path, tmp_path: Path, name: str, kind: bytes, link: str
) -> None:
    path = pack(shapes_dir, tmp_path, member(name, kind=kind, link=link))
    with pytest.raises(DataError, match="which is no part of CIFAR-10"):
        unpack(path, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar.gz"]


def test_a_member_of_unlikely_size_is_refused(shapes_dir: Path, tmp_path: Path) -> None:
    name = f"{batches.PYTHON_FOLDER}/readme.html"
    path = pack(shapes_dir, tmp_path, member(name, b"\0" * 100_000))
    with pytest.raises(DataError, match="has 100000 bytes, expected 0 to 65536"):
        unpack(path, tmp_path)


def test_a_missing_batch_is_named(shapes_dir: Path, tmp_path: Path) -> None:
    path = pack(shapes_dir, tmp_path, skip="data_batch_4")
    with pytest.raises(DataError, match="lacks data_batch_4"):
        unpack(path, tmp_path)


@pytest.mark.parametrize("keep", [0, 10, 1000, -100])
def test_a_truncated_archive_is_refused_and_the_old_data_set_stays(
    shapes_dir: Path, tmp_path: Path, keep: int
) -> None:
    path = pack(shapes_dir, tmp_path)
    unpack(path, tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"not a valid \.tar\.gz|found an empty file"):
        unpack(path, tmp_path)
    assert install.verify(tmp_path) == (200, 40)


def test_an_archive_whose_batches_are_wrong_takes_nobodys_place(
    shapes_dir: Path, tmp_path: Path
) -> None:
    name = "data_batch_5"
    bad = member(f"{batches.PYTHON_FOLDER}/{name}", b"not a pickle")
    path = pack(shapes_dir, tmp_path, bad, skip=name)
    with pytest.raises(DataError, match=name):
        unpack(path, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar.gz"]
