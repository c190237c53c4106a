"""Unpacks the Python archive of CIFAR-10: its exact members, and nothing else.

They are unpacked into a folder of another name, read once as a data set, and only then renamed: a
folder `cifar-10-batches-py` is always a whole one.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlpcli.cifar10.batches import (
    MAX_BATCH_BYTES,
    MAX_META_BYTES,
    META,
    PYTHON_FOLDER,
    TEST_BATCHES,
    TRAIN_BATCHES,
    open_folder,
)
from mlpcli.errors import DataError, MlpcliError
from mlpcli.files import sync_folder

MEMBERS = {META: MAX_META_BYTES, "readme.html": MAX_META_BYTES} | dict.fromkeys(
    TRAIN_BATCHES + TEST_BATCHES, MAX_BATCH_BYTES
)


def unpack(archive: Path, data_dir: Path) -> None:
    """Unpack `archive` to `data_dir/cifar-10-batches-py`, in the place of what stood there.

    Raises DataError for an archive that holds anything but CIFAR-10.
    """
    with new_folder(data_dir, str(archive)) as folder:
        try:
            with tarfile.open(archive, "r:gz") as tar:
                _extract(tar, folder, archive)
        except MlpcliError:
            raise
        except Exception as error:  # what a torn or crafted archive leads tarfile to
            if isinstance(error, OSError) and error.errno is not None:  # gzip's have no number
                raise
            raise DataError(f"{archive}: not a whole .tar.gz: {error}") from None


@contextmanager
def new_folder(data_dir: Path, source: str) -> Iterator[Path]:
    """Give a folder to fill; at the end, if it reads as a data set, it takes the place of the old.

    Raises DataError, naming `source`, if it does not, and MlpcliError where it cannot be written.
    """
    staging = data_dir / ".unpacking"  # one for all: what a killed process left is cleared here
    folder, final = staging / PYTHON_FOLDER, data_dir / PYTHON_FOLDER
    try:
        shutil.rmtree(staging, ignore_errors=True)
        folder.mkdir(parents=True)
        yield folder
        try:
            require_whole(staging)
        except DataError as error:
            raise DataError(f"{source}: {str(error).replace(f'{folder}/', '')}") from None
        for file in folder.iterdir():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
        sync_folder(folder)
        if final.exists():
            final.rename(staging / "old")
        folder.rename(final)
        sync_folder(data_dir)
    except OSError as error:
        raise MlpcliError(f"{data_dir}: cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def require_whole(data_dir: Path) -> tuple[int, int]:
    """Read all of the batches in `data_dir`; return how many training and test images there are.

    Raises DataError where there are none or one is not whole.
    """
    folder = open_folder(data_dir)
    return len(folder.read(TRAIN_BATCHES)[1]), len(folder.read(TEST_BATCHES)[1])


def _extract(tar: tarfile.TarFile, folder: Path, archive: Path) -> None:
    missing = set(MEMBERS)
    for member in tar:
        parent, _, name = member.name.rpartition("/")
        if member.isdir() and member.name == PYTHON_FOLDER:
            continue
        if parent != PYTHON_FOLDER or name not in missing or not member.isreg():
            raise DataError(f"{archive}: holds {member.name!r}, which is no part of CIFAR-10")
        if member.size > MEMBERS[name]:
            raise DataError(f"{archive}: {name} has {member.size} bytes, too many for CIFAR-10")
        content = tar.extractfile(member)
        assert content is not None  # a regular file
        with content, (folder / name).open("wb") as file:
            shutil.copyfileobj(content, file)
        missing.remove(name)
    missing.discard("readme.html")
    if missing:
        raise DataError(f"{archive}: lacks {', '.join(sorted(missing))}")
