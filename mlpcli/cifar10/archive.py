"""Unpacks the Python archive of CIFAR-10: its exact members, and nothing else.

They are unpacked into a folder of another name, read once as a data set, and only then renamed: a
folder `cifar-10-batches-py` is always a whole one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from mlpcli.cifar10.batches import (
    MAX_META_BYTES,
    META,
    PYTHON_FOLDER,
    TEST_BATCHES,
    TRAIN_BATCHES,
    open_folder,
)
from mlpcli.errors import DataError, MlpcliError
from mlpcli.files import open_regular, sync_folder

# Names, and bytes at most: an official batch has 31.0 million.
MEMBERS = {META: MAX_META_BYTES, "readme.html": MAX_META_BYTES} | dict.fromkeys(
    TRAIN_BATCHES + TEST_BATCHES, 32 * 2**20
)
MAX_HEADERS = 32
MAX_EXTENSION_BYTES = 2**16  # of a pax header
MAX_PADDING_BYTES = 2**20  # zeros behind the end
CHUNK = 2**16


def unpack(archive: Path, data_dir: Path) -> None:
    """Unpack `archive` to `data_dir/cifar-10-batches-py`, in the place of what stood there.

    Raises DataError for an archive that holds anything but CIFAR-10.
    """
    try:
        file = open_regular(archive)
    except OSError as error:
        raise DataError(f"{archive}: cannot be read: {error.strerror}") from None
    with file, new_folder(data_dir, str(archive)) as folder:
        try:
            _extract(_Inflated(file), folder)
        except _RefusedError as refused:
            raise DataError(f"{archive}: {refused}") from None
        except (zlib.error, tarfile.TarError) as error:
            raise DataError(f"{archive}: not a whole .tar.gz: {error}") from None


@contextlib.contextmanager
def new_folder(data_dir: Path, source: str) -> Iterator[Path]:
    """Give a folder to fill; at the end, if it reads as a data set, it takes the place of the old.

    Raises DataError, naming `source`, if it does not, and MlpcliError where it cannot be written.
    """
    staging = data_dir / ".unpacking"  # one for all: what a killed process left is cleared here
    folder, final = staging / PYTHON_FOLDER, data_dir / PYTHON_FOLDER
    try:
        _clear(staging, final)
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
        with contextlib.suppress(OSError):
            _clear(staging, final)


def _clear(staging: Path, final: Path) -> None:
    """Remove what is no longer needed; an old data set whose successor never came is put back."""
    old = staging / "old"
    if old.exists() and not final.exists():
        old.rename(final)
    shutil.rmtree(staging, ignore_errors=True)


def require_whole(data_dir: Path) -> tuple[int, int]:
    """Read all of the batches in `data_dir`; return how many training and test images there are.

    Raises DataError where there are none or one is not whole.
    """
    folder = open_folder(data_dir)
    return len(folder.read(TRAIN_BATCHES)[1]), len(folder.read(TEST_BATCHES)[1])


class _RefusedError(Exception):
    pass


class _Inflated:
    """What a gzip file of one member holds; its digest has been checked where it has ended."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._inflater = zlib.decompressobj(wbits=31)

    def read(self, size: int) -> bytes:
        """Return so many bytes, or fewer where the gzip member ends before."""
        parts = []
        while size and not self._inflater.eof:
            packed = self._inflater.unconsumed_tail or self._file.read(CHUNK)
            part = self._inflater.decompress(packed, size)
            if not packed and not part:
                raise zlib.error("it breaks off")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def at_end(self) -> bool:
        """Whether nothing follows, neither in the member nor behind it."""
        return not (self.read(1) or self._inflater.unused_data or self._file.read(1))


def _extract(stream: _Inflated, folder: Path) -> None:
    """Write the members of a tar stream into `folder`.

    `tarfile` parses the headers, one block each, but does not walk the archive: it would do as they
    say, such as read a name of a gigabyte.
    """
    limits = {PYTHON_FOLDER: 0} | {f"{PYTHON_FOLDER}/{name}": MEMBERS[name] for name in MEMBERS}
    for _ in range(MAX_HEADERS):
        block = stream.read(tarfile.BLOCKSIZE)
        if block == bytes(tarfile.BLOCKSIZE):
            break
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if header.type in (tarfile.XHDTYPE, tarfile.XGLTYPE):  # a time with fractions, say: skipped
            _content(stream, header, MAX_EXTENSION_BYTES)
            continue
        is_folder = header.name == PYTHON_FOLDER
        types = (tarfile.DIRTYPE,) if is_folder else (tarfile.REGTYPE, tarfile.AREGTYPE)
        if header.name not in limits or header.type not in types:
            raise _RefusedError(f"holds {header.name[:50]!r}, which is no part of CIFAR-10")
        content = _content(stream, header, limits.pop(header.name))
        if not is_folder:
            (folder / Path(header.name).name).write_bytes(content)
    else:
        raise _RefusedError(f"holds over {MAX_HEADERS} headers, too many for CIFAR-10")
    if stream.read(MAX_PADDING_BYTES).strip(b"\0") or not stream.at_end():
        raise _RefusedError("holds something behind its end")
    missing = {Path(name).name for name in limits} - {PYTHON_FOLDER, "readme.html"}
    if missing:
        raise _RefusedError(f"lacks {', '.join(sorted(missing))}")


def _content(stream: _Inflated, header: tarfile.TarInfo, limit: int) -> bytes:
    """Return what follows a header, up to the next one."""
    if not 0 <= header.size <= limit:
        raise _RefusedError(f"{header.name[:50]!r} has {header.size} bytes, expected 0 to {limit}")
    content = stream.read(header.size)
    stream.read(-header.size % tarfile.BLOCKSIZE)
    return content  # less than its size only at the end, where the next header will be missed
