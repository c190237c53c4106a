"""Names what lies where an archive or a batch of CIFAR-10 is expected, from its first bytes."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from mlpcli.errors import DataError

HEAD = 512  # bytes that are enough to tell
LFS, ANNEX = b"version https://git-lfs", b"/annex/objects/"
KINDS = {
    LFS: "a Git LFS pointer",
    ANNEX: "a git-annex pointer",
    b"\x1f\x8b": "a gzip file",
    b"PK\x03\x04": "a zip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ\0": "an xz file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"<": "a web page",
}
# The first folder of archives that are not the Python version.
OTHERS = {
    "cifar-10-batches-bin": "the binary version",
    "cifar-10-batches-mat": "the Matlab version",
    "cifar-100-python": "CIFAR-100",
    "cifar-100-binary": "CIFAR-100",
}


def kind(head: bytes) -> str | None:
    """Return what a file is whose first bytes are `head`; None where it is not known."""
    if not head:
        return "an empty file"
    if head[257:262] == b"ustar":
        return "a tar archive that is not compressed"
    return next((name for magic, name in KINDS.items() if head.startswith(magic)), None)


def refuse_pointer(path: Path, head: bytes) -> None:
    """Raise DataError where a file only stands for one that Git LFS or git-annex has elsewhere."""
    for magic, fetch in ((LFS, "lfs pull"), (ANNEX, "annex get .")):
        if head.startswith(magic):
            folder = shlex.quote(os.fspath(path.parent))
            raise DataError(
                f"{path}: found {KINDS[magic]}, expected the file that it stands for",
                hint=f"git -C {folder} {fetch}",
            )
