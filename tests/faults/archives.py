"""Archives, each by its name: those that hold CIFAR-10, and hostile ones."""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import lzma
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from conftest import write_shapes

from faults import pickles
from mlpcli.cifar10.batches import PYTHON_FOLDER as FOLDER

MIB = 2**20
END = bytes(1024)
README = f"{FOLDER}/readme.html"
OUTSIDE = Path("/tmp/mlpcli-was-here")
FORMATS = {"ustar": tarfile.USTAR_FORMAT, "GNU": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


@functools.cache
def small_set() -> dict[str, bytes]:
    """Return the files of a data set of twelve images, by their names."""
    with tempfile.TemporaryDirectory() as folder:
        files = (write_shapes(Path(folder), batch_rows=2) / FOLDER).iterdir()
        return {file.name: file.read_bytes() for file in sorted(files)}


@functools.cache
def packed_by_tarfile(tar_format: str) -> bytes:
    """Return a tar of the small set as Python writes it, with pax headers if that is the format."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=FORMATS[tar_format]) as tar:
        folder = tarfile.TarInfo(FOLDER)
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, content in small_set().items():
            info = tarfile.TarInfo(f"{FOLDER}/{name}")
            info.size, info.mtime = len(content), 1234567890.5 if tar_format == "pax" else 0
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def sealed(header: bytes) -> bytes:
    """Return a header block with the checksum that it should have."""
    blank = header[:148] + b" " * 8 + header[156:512]
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:]


def entry(
    name: str,
    content: bytes = b"",
    kind: bytes = tarfile.REGTYPE,
    *,
    size: int | None = None,
    link: str = "",
) -> bytes:
    """Return a header, and its content in whole blocks."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = len(content) if size is None else size
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def patched(block: bytes, at: int, field: bytes) -> bytes:
    return sealed(block[:at] + field + block[at + len(field) : 512]) + block[512:]


def small(**changes: bytes) -> bytes:
    """Return the entries of the small set, without its end; a change to b"" leaves one out."""
    files = small_set() | changes
    return b"".join(entry(f"{FOLDER}/{name}", files[name]) for name in files if files[name])


def pack(tar: bytes) -> bytes:
    return gzip.compress(tar, 1, mtime=0)


def with_small(*more: bytes) -> bytes:
    return pack(small() + b"".join(more) + END)


def bomb(*parts: bytes | int) -> bytes:
    """Return a gzip stream of bytes and of this many MiB of zeros; its digest is wrong."""

    def deflated(data: bytes) -> bytes:
        packer = zlib.compressobj(9, wbits=-15)
        return packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)

    zeros = deflated(bytes(MIB))
    body = [zeros * part if isinstance(part, int) else deflated(part) for part in parts]
    return b"\x1f\x8b\x08" + bytes(7) + b"".join(body) + b"\x03\0" + bytes(8)


def gzip_header(flags: int, field: bytes) -> bytes:
    """Return the small set, packed, with an optional field in its gzip header."""
    packed = with_small()
    return packed[:3] + bytes([flags]) + packed[4:10] + field + packed[10:]


def pax(records: str) -> bytes:
    return entry("PaxHeaders/x", records.encode(), tarfile.XHDTYPE)


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in small_set().items():
            file.writestr(f"{FOLDER}/{name}", content)
    return buffer.getvalue()


def special(kind: bytes, link: str = "") -> bytes:
    return with_small(entry(README, kind=kind, link=link))


ACCEPTED: dict[str, Callable[[], bytes]] = {
    "a ustar archive": lambda: pack(packed_by_tarfile("ustar")),
    "a GNU archive": lambda: pack(packed_by_tarfile("GNU")),
    "a pax archive with fractions of seconds": lambda: pack(packed_by_tarfile("pax")),
    "no entry for the folder": with_small,
    "a readme": lambda: with_small(entry(README, b"<html>")),
    "files as Unix V7 wrote them": lambda: with_small(entry(README, b"x", tarfile.AREGTYPE)),
    "a pax header with another path": lambda: with_small(
        pax("23 path=../../was-here\n"), entry(README, b"x")
    ),
    "a pax header with another size": lambda: with_small(
        pax("13 size=1000\n"), entry(README, b"x")
    ),
    "a pax header of no sense": lambda: with_small(pax("99999999999 =\n"), entry(README, b"x")),
    "a gzip header with a name": lambda: gzip_header(8, b"../../cifar-10-python.tar\0"),
    "a gzip header with an extra field": lambda: gzip_header(4, b"\4\0abcd"),
}

REFUSED: dict[str, Callable[[], bytes]] = {
    # Names.
    "a name that leads out": lambda: with_small(entry("../was-here", b"x")),
    "an absolute name": lambda: with_small(entry(str(OUTSIDE), b"x")),
    "a name that leads in and out": lambda: with_small(entry(f"{FOLDER}/../../was-here", b"x")),
    "a name that leads out and in": lambda: with_small(entry(f"{FOLDER}/../{README}", b"x")),
    "a prefix that leads out": lambda: with_small(
        patched(entry(README, b"x"), 257, b"ustar\00000" + bytes(80) + b"../..")
    ),
    "a name that ends in a slash": lambda: with_small(entry(f"{README}/", b"", tarfile.AREGTYPE)),
    "a name in bytes that are no text": lambda: with_small(
        patched(entry("x"), 0, b"\xff\x1b[2J\n")
    ),
    "an unknown member": lambda: with_small(entry(f"{FOLDER}/data_batch_6", b"x")),
    "a resource fork": lambda: with_small(entry(f"{FOLDER}/._data_batch_1", b"x")),
    "an unknown folder": lambda: with_small(entry("other", kind=tarfile.DIRTYPE)),
    "a batch twice": lambda: with_small(
        entry(f"{FOLDER}/data_batch_1", small_set()["data_batch_2"])
    ),
    "a readme twice": lambda: with_small(entry(README, b"x") * 2),
    "the folder twice": lambda: with_small(entry(FOLDER, kind=tarfile.DIRTYPE) * 2),
    # Types.
    "a symbolic link": lambda: special(tarfile.SYMTYPE, "/etc/passwd"),
    "a hard link": lambda: special(tarfile.LNKTYPE, f"{FOLDER}/test_batch"),
    "a pipe": lambda: special(tarfile.FIFOTYPE),
    "a character device": lambda: special(tarfile.CHRTYPE),
    "a block device": lambda: special(tarfile.BLKTYPE),
    "a folder in a file's place": lambda: special(tarfile.DIRTYPE),
    "a contiguous file": lambda: special(tarfile.CONTTYPE),
    "a sparse file": lambda: special(tarfile.GNUTYPE_SPARSE),
    "a file of two volumes": lambda: special(b"M"),
    "a type that is no type": lambda: special(b"\xff"),
    "the folder as a link": lambda: pack(
        entry(FOLDER, kind=tarfile.SYMTYPE, link="/tmp") + small() + END
    ),
    "the folder as a file": lambda: pack(entry(FOLDER, b"x") + small() + END),
    "a sparse file by pax headers": lambda: with_small(
        pax("22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n"),
        entry(f"{FOLDER}/GNUSparseFile.0/readme.html", b"1\n0\n" + bytes(508)),
    ),
    # Sizes.
    "a readme too long": lambda: with_small(entry(README, bytes(2**16 + 1))),
    "a batch of 8 GiB": lambda: bomb(entry(f"{FOLDER}/data_batch_1", size=2**33), 8192),
    "batches as long as may be": lambda: bomb(
        *(
            part
            for name in small_set()
            if name != "batches.meta"
            for part in (entry(f"{FOLDER}/{name}", size=32 * MIB), 32)
        ),
        END,
    ),
    "a folder with content": lambda: pack(
        entry(FOLDER, bytes(512), tarfile.DIRTYPE) + small() + END
    ),
    "a negative size": lambda: with_small(entry(README, size=-512)),
    "a negative size in digits": lambda: with_small(patched(entry(README), 124, b"-0000001000\0")),
    "a size of 2 ** 80": lambda: with_small(patched(entry(README), 124, b"\x80\0" + b"\xff" * 10)),
    "a size that is no number": lambda: with_small(patched(entry(README), 124, b"0x200      \0")),
    "a pax header of a GiB": lambda: bomb(entry("x", kind=tarfile.XHDTYPE, size=2**30), 1024),
    "a global header of a GiB": lambda: bomb(entry("x", kind=tarfile.XGLTYPE, size=2**30), 1024),
    "a long name of a GiB": lambda: bomb(
        entry("././@LongLink", kind=tarfile.GNUTYPE_LONGNAME, size=2**30), 1024
    ),
    "a long link of a GiB": lambda: bomb(
        entry("././@LongLink", kind=tarfile.GNUTYPE_LONGLINK, size=2**30), 1024
    ),
    "a long name that leads out": lambda: with_small(entry("../" * 50 + "was-here", b"x")),
    "200,000 pax headers": lambda: pack(pax("") * 200_000 + small() + END),
    # Ends.
    "no end": lambda: pack(small()),
    "an end in the middle": lambda: pack(entry(README, b"x") + END + small() + END),
    "a second archive after the end": lambda: with_small(END, entry("../was-here", b"x")),
    "4 GiB of zeros after the end": lambda: bomb(small() + END, 4096),
    "a second gzip member": lambda: with_small() + with_small(),
    "text after the gzip member": lambda: with_small() + b"x",
    "a header cut in two": lambda: pack(small() + entry(README, b"x")[:300]),
    "a member cut off": lambda: pack(small()[:-2048]),
    "a wrong checksum": lambda: with_small(b"X" + entry(README, b"x")[1:]),
    "a wrong digest": lambda: with_small()[:-8] + bytes(4) + with_small()[-4:],
    "a wrong length": lambda: with_small()[:-4] + bytes(4),
    "no digest": lambda: with_small()[:-8],
    "a name of 64 MiB in the gzip header": lambda: gzip_header(8, b"x" * 64 * MIB)[: 64 * MIB],
    "a comment of 64 MiB in the gzip header": lambda: gzip_header(16, b"x" * 64 * MIB)[: 64 * MIB],
    "flags that gzip has not": lambda: gzip_header(0xE0, b""),
    # What is inside, and what is not.
    "a hostile pickle": lambda: pack(
        small(data_batch_3=pickles.RUNNING["os.system by GLOBAL"](f"touch {OUTSIDE}")) + END
    ),
    "a batch of one more row": lambda: pack(
        small(test_batch=pickles.batch(pickles.array(b"K\1M\0\x0c\x86"))) + END
    ),
    "a missing batch": lambda: pack(small(data_batch_4=b"") + END),
    "missing names": lambda: pack(small(**{"batches.meta": b""}) + END),
    "an empty tar": lambda: pack(END),
    "an empty stream": lambda: pack(b""),
    "an empty file": lambda: b"",
    "a tar": lambda: small() + END,
    "a tar in bzip2": lambda: bz2.compress(small() + END),
    "a tar in xz": lambda: lzma.compress(small() + END),
    "a tar packed twice": lambda: pack(with_small()),
    "a zip": _zip,
    "a page of a portal": lambda: b"<!DOCTYPE html><title>Log in</title>",
}
