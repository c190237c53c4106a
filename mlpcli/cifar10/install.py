"""Brings CIFAR-10 to a data directory: finds out what there is to do, and does it.

A new data set is made in a staging folder, read once, and only then renamed: a folder
`cifar-10-batches-py` is always a complete one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shlex
import shutil
import urllib.parse
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mlpcli.cifar10 import archive, batches, synthetic
from mlpcli.cifar10.batches import BINARY_FOLDER, PYTHON_FOLDER
from mlpcli.cifar10.download import Notice, Progress, download, file_sha256
from mlpcli.cifar10.mirrors import MAX_ARCHIVE_BYTES, OFFICIAL, VARIABLE, Source
from mlpcli.errors import ConfigError, DataError
from mlpcli.files import locked, make_folder, sync_folder, writing


def install(
    data_dir: Path,
    source: Source,
    progress: Progress,
    notice: Notice,
    *,
    from_file: Path | None,
    shapes: bool,
    offline: bool,
    force: bool,
    min_speed: float,
) -> tuple[int, int, bool]:
    """Make sure that `data_dir` holds a complete data set.

    Return how many training and test images it has, and whether they have just been written. A data
    set that is there is kept, unless `force`. Else the synthetic shapes are written, or an archive
    is unpacked: `from_file`, or the one in `data_dir`, which is downloaded at `min_speed` bytes/s
    or more, unless `offline`.

    Raises DataError for data that are missing, corrupt or unavailable, LockedError where another
    process writes to the folder, and MlpcliError where it cannot be written.
    """
    if not force and any((data_dir / name).exists() for name in (PYTHON_FOLDER, BINARY_FOLDER)):
        try:
            return *verify(data_dir), False
        except DataError as error:
            source_options = (
                ["--synthetic"] if shapes else ["--from", from_file] if from_file else []
            )
            raise DataError(
                str(error), hint=_download(data_dir, "--force", *source_options)
            ) from None
    path = from_file or data_dir / source.file_name
    if offline and not (shapes or from_file or path.exists()):
        raise DataError(
            f"{data_dir}: holds neither a data set nor {path.name}, and --offline fetches nothing",
            hint=_download(data_dir),
        )
    make_folder(data_dir)
    with locked(data_dir, notice):
        if shapes:
            counts = replace_folder(data_dir, "the shapes", write_shapes)
        else:
            if from_file or offline:
                _check(path, source)
            else:
                download(source, data_dir, progress, notice, min_speed)
            counts = unpack(path, data_dir)
    return *counts, True


def choose_source(urls: tuple[str, ...], sha256: str | None, *, local: bool = False) -> Source:
    """Return the archive to install: the official one, or the one of another digest.

    Its addresses are `urls`, else those of the environment, else the built-in ones; where it is
    `local` they do not matter. Raises ConfigError for what is no address.
    """
    name = "--url" if urls else VARIABLE
    if not local:
        urls = urls or tuple(os.environ.get(VARIABLE, "").split())
    for url in urls:
        if not _is_address(url):
            raise ConfigError(
                f"{name} {without_password(url)}: expected an address as in "
                "https://host/file.tar.gz"
            )
    return dataclasses.replace(
        OFFICIAL,
        urls=urls or OFFICIAL.urls,
        sha256=(sha256 or OFFICIAL.sha256).lower(),
        size=None if sha256 else OFFICIAL.size,
    )


def _is_address(url: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, half of a bracket
        return False
    return has_host and parts.scheme in ("http", "https") and url.isprintable()


def without_password(url: str) -> str:
    """Return an address as it may be shown."""
    return re.sub("//[^/]*@", "//", url)


def verify(data_dir: Path) -> tuple[int, int]:
    """Read all batches in `data_dir`; return how many training and test images there are.

    Raises DataError where there are none or one is not valid.
    """
    folder = batches.open_folder(data_dir)
    train, test = batches.TRAIN_BATCHES, batches.TEST_BATCHES
    return len(folder.read(train)[1]), len(folder.read(test)[1])


def unpack(path: Path, data_dir: Path) -> tuple[int, int]:
    """Install the data set of the archive at `path`, as `replace_folder` does."""
    return replace_folder(data_dir, str(path), partial(archive.extract, path))


def write_shapes(folder: Path) -> None:
    """Write the synthetic shapes as batches to `folder`, which must exist."""
    names, train, test = synthetic.LABEL_NAMES, synthetic.draw_train(), synthetic.draw_test()
    batches.write_folder(folder, names, train, test)


def replace_folder(data_dir: Path, source: str, fill: Callable[[Path], None]) -> tuple[int, int]:
    """Replace the data set by what `fill` writes into a folder; return its image counts.

    Raises DataError, naming `source`, where that is not a complete data set, and MlpcliError where
    it cannot be written; the old data set is kept.
    """
    staging = data_dir / ".unpacking"  # a fixed name: what a killed process left is removed here
    folder, final = staging / PYTHON_FOLDER, data_dir / PYTHON_FOLDER
    try:
        with writing(data_dir):
            _clear(staging, final)
            folder.mkdir(parents=True)
            fill(folder)
            try:
                counts = verify(staging)
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
            return counts
    finally:
        with contextlib.suppress(OSError):
            _clear(staging, final)


def _clear(staging: Path, final: Path) -> None:
    """Remove the staging folder; an old data set without a successor is put back first."""
    old = staging / "old"
    if old.exists() and not final.exists():
        old.rename(final)
    shutil.rmtree(staging, ignore_errors=True)


def _download(data_dir: Path, *options: str | Path) -> str:
    """Return the command that downloads to this directory."""
    return shlex.join(["mlpcli", "download", *map(str, options), "--data-dir", str(data_dir)])


def _check(path: Path, source: Source) -> None:
    """Raise DataError unless the archive at `path` has the expected digest."""
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: not a regular file")
    if path.exists() and path.stat().st_size > MAX_ARCHIVE_BYTES:
        limit = MAX_ARCHIVE_BYTES // 2**20
        raise DataError(f"{path}: over {limit} MiB, too large for CIFAR-10")
    found = file_sha256(path)
    if found != source.sha256:
        raise DataError(
            f"{path}: its SHA-256 is {found}, expected {source.sha256}; --sha256 accepts another"
        )
