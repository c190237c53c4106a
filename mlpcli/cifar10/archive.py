"""Unpacks the Python archive of CIFAR-10: its exact members, and nothing else."""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from pathlib import Path
from tarfile import ExtractError
from typing import IO

from mlpcli.cifar10.batches import MAX_META_BYTES, META, PYTHON_FOLDER, TEST_BATCHES, TRAIN_BATCHES
from mlpcli.cifar10.formats import HEAD, OTHERS, kind, refuse_pointer
from mlpcli.errors import DataError
from mlpcli.files import reading

# The most bytes of each member: an official batch has 31.0 million.
MEMBERS = {META: MAX_META_BYTES, "readme.html": MAX_META_BYTES} | dict.fromkeys(
    TRAIN_BATCHES + TEST_BATCHES, 32 * 2**20
)
MAX_HEADERS = 32
MAX_EXTENSION_BYTES = 2**16  # of a pax header
MAX_PADDING_BYTES = 2**20  # zeros after the end
CHUNK = 2**16
GZIP = b"\x1f\x8b"


def extract(file: IO[bytes], archive: Path, folder: Path | None, sha256: str | None = None) -> None:
    """Write what the archive `file` holds, which was opened at the path `archive`, into `folder`.

    Where `folder` is None, nothing is written. With `sha256`, the bytes have to be the ones of this
    digest still. Raises DataError for an archive that holds anything but CIFAR-10, and OSError
    where a file cannot be written.
    """
    with reading(archive, DataError):
        file.seek(0)
        head = file.read(HEAD)
        file.seek(0)
    refuse_pointer(archive, head)
    if not head.startswith(GZIP):
        found = kind(head) or "a file of no known format"
        raise DataError(f"{archive}: found {found}, expected a .tar.gz")
    inflated = _Inflated(file)
    try:
        _extract(inflated, folder)
    except ExtractError as error:
        raise DataError(f"{archive}: {error}") from None
    except (zlib.error, tarfile.TarError) as error:
        raise DataError(f"{archive}: not a valid .tar.gz: {error}") from None
    if sha256 and inflated.digest.hexdigest() != sha256:
        raise DataError(f"{archive}: was changed while it was read")


class _Inflated:
    """The contents of a gzip file of one member, whose checksum is checked at its end."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._inflater = zlib.decompressobj(wbits=31)
        self.digest = hashlib.sha256()  # of the bytes of the file

    def _packed(self) -> bytes:
        packed = self._file.read(CHUNK)
        self.digest.update(packed)
        return packed

    def read(self, size: int) -> bytes:
        """Return `size` bytes, or fewer where the gzip member ends before."""
        parts = []
        while size and not self._inflater.eof:
            packed = self._inflater.unconsumed_tail or self._packed()
            part = self._inflater.decompress(packed, size)
            if not packed and not part:
                raise zlib.error("it is truncated")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def at_end(self) -> bool:
        """Whether nothing follows, neither in the member nor after it."""
        return not (self.read(1) or self._inflater.unused_data or self._packed())


def _extract(stream: _Inflated, folder: Path | None) -> None:
    """Write the members of a tar stream into `folder`, if there is one.

    `tarfile` parses the headers, one block each, but does not walk the archive: it would obey them,
    and read a name of a gigabyte, for example.
    """
    limits = {PYTHON_FOLDER: 0} | {f"{PYTHON_FOLDER}/{name}": MEMBERS[name] for name in MEMBERS}
    for _ in range(MAX_HEADERS):
        block = stream.read(tarfile.BLOCKSIZE)
        if block == bytes(tarfile.BLOCKSIZE):
            break
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if header.type in (tarfile.XHDTYPE, tarfile.XGLTYPE):  # skipped
            _content(stream, header, MAX_EXTENSION_BYTES)
            continue
        is_folder = header.name == PYTHON_FOLDER
        types = (tarfile.DIRTYPE,) if is_folder else (tarfile.REGTYPE, tarfile.AREGTYPE)
        if header.name not in limits or header.type not in types:
            if other := OTHERS.get(header.name.partition("/")[0]):
                raise ExtractError(f"found {other}, expected the Python version of CIFAR-10")
            raise ExtractError(f"holds {header.name[:50]!r}, which is no part of CIFAR-10")
        content = _content(stream, header, limits.pop(header.name))
        if folder and not is_folder:
            with (folder / Path(header.name).name).open("xb") as file:
                file.write(content)
    else:
        raise ExtractError(f"holds over {MAX_HEADERS} headers, too many for CIFAR-10")
    if stream.read(MAX_PADDING_BYTES).strip(b"\0") or not stream.at_end():
        raise ExtractError("holds something after its end")
    missing = {Path(name).name for name in limits} - {PYTHON_FOLDER, "readme.html"}
    if missing:
        raise ExtractError(f"lacks {', '.join(sorted(missing))}")


def _content(stream: _Inflated, header: tarfile.TarInfo, limit: int) -> bytes:
    """Return the content that follows a header, and skip its padding."""
    if not 0 <= header.size <= limit:
        raise ExtractError(f"{header.name[:50]!r} has {header.size} bytes, expected 0 to {limit}")
    content = stream.read(header.size)
    stream.read(-header.size % tarfile.BLOCKSIZE)
    return content  # shorter than its size only at the end, where the next header will be missing
