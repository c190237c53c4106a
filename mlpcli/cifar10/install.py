"""Brings CIFAR-10 to a data directory: finds out what there is to do, and does it.

A new data set is made in a staging folder, read once, and only then renamed: a folder
`cifar-10-batches-py` is always a complete one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import re
import shlex
import shutil
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import IO

from mlpcli.cifar10 import archive, batches, synthetic
from mlpcli.cifar10.batches import PYTHON_FOLDER, REPLACED, STAGING
from mlpcli.cifar10.download import Notice, Progress, digest, download
from mlpcli.cifar10.mirrors import OFFICIAL, VARIABLE, Source
from mlpcli.errors import ConfigError, DataError, MlpcliError, without_secrets
from mlpcli.files import locked, make_folder, open_regular, reading, sync_folder, writing


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
    batches.put_back(data_dir)
    own = batches.holds_batches(data_dir)
    if not force and (own or batches.holds_data_set(data_dir)):
        try:
            return *verify(data_dir), False
        except DataError as error:
            missing = isinstance(error, batches.MissingBatchError)
            if own or (error.hint is not None and not missing):
                raise
            raise DataError(f"{error} (--force replaces the data set)", ("--force",)) from None
    if own:
        named = data_dir.name in (batches.PYTHON_FOLDER, batches.BINARY_FOLDER)
        raise DataError(
            f"{data_dir}: a folder of batches, expected the folder above it",
            hint=("--data-dir", str(data_dir.parent)) if named else None,
        )
    path = from_file or data_dir / source.file_name
    if offline and not (shapes or from_file or path.exists()):
        raise DataError(
            f"{data_dir}: holds neither a data set nor {path.name}, and --offline fetches nothing",
            hint=_download(data_dir),
        )
    if data_dir.exists() and not data_dir.is_dir():
        raise DataError(f"{data_dir}: a file, expected a folder")
    with writing(data_dir, "made"):
        make_folder(data_dir)
    with locked(data_dir, notice):
        if shapes:
            counts = replace_folder(data_dir, "the shapes", write_shapes)
        else:
            opened = (
                _checked(path, source, data_dir)
                if from_file or offline
                else download(source, data_dir, progress, notice, min_speed)
            )
            with opened as file:  # the one whose digest was found, whatever stands at `path` now
                counts = unpack(file, path, data_dir, source.sha256)
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
                f"{name} {hidden(url)}: expected an address as in https://host/file.tar.gz"
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
    return has_host and parts.scheme in ("http", "https") and url.isprintable() and " " not in url


def hidden(url: str) -> str:
    """Return what was given as an address without users, passwords and queries."""
    url = re.sub(r"\s", "%20", url)
    return without_secrets(url) if "://" in url else without_secrets(f"x://{url}")[4:]


def verify(data_dir: Path) -> tuple[int, int]:
    """Read all batches in `data_dir`; return how many training and test images there are.

    Raises DataError where there are none or one is not valid.
    """
    train, test = batches.TRAIN_BATCHES, batches.TEST_BATCHES
    with batches.open_folder(data_dir) as folder:
        return len(folder.read(train)[1]), len(folder.read(test)[1])


def unpack(
    file: IO[bytes], path: Path, data_dir: Path, sha256: str | None = None
) -> tuple[int, int]:
    """Install the data set of an archive, open as `archive.extract` takes it.

    The rest is as in `replace_folder`.
    """
    return replace_folder(
        data_dir, str(path), lambda folder: archive.extract(file, path, folder, sha256)
    )


def write_shapes(folder: Path) -> None:
    """Write the synthetic shapes as batches to `folder`, which must exist."""
    names, train, test = synthetic.LABEL_NAMES, synthetic.draw_train(), synthetic.draw_test()
    batches.write_folder(folder, names, train, test)


def replace_folder(data_dir: Path, source: str, fill: Callable[[Path], None]) -> tuple[int, int]:
    """Replace the data set by what `fill` writes into a folder; return its image counts.

    Raises DataError, naming `source`, where that is not a complete data set, and MlpcliError where
    it cannot be written; the old data set is kept.
    """
    staging = data_dir / STAGING  # a fixed name: what a killed process left is removed here
    folder, final = staging / PYTHON_FOLDER, data_dir / PYTHON_FOLDER
    try:
        with writing(data_dir):
            _clear(staging, final)
            staging.mkdir()
            folder.mkdir()
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
                final.rename(data_dir / REPLACED)
            folder.rename(final)
            sync_folder(data_dir)
            return counts
    finally:
        with contextlib.suppress(OSError):
            _clear(staging, final)


def _clear(staging: Path, final: Path) -> None:
    """Remove the staging folder; an old data set without a successor is put back first."""
    if staging.is_symlink():  # not followed, and nothing of ours
        staging.unlink()
    old = staging.parent / REPLACED
    if old.exists():  # under this name it is always complete: it is not deleted piece by piece
        old.rename(staging / "replaced" if final.exists() else final)
    shutil.rmtree(staging, ignore_errors=True)


def _download(data_dir: Path, *options: str | Path) -> str:
    """Return the command that downloads to this directory."""
    return shlex.join(["mlpcli", "download", *map(str, options), "--data-dir", str(data_dir)])


def _checked(path: Path, source: Source, data_dir: Path) -> io.BufferedReader:
    """Open the archive at `path`, which the user has; raises DataError unless it is `source`."""
    if path.exists() and not path.is_file():
        if batches.holds_batches(path) or batches.holds_data_set(path):
            raise DataError(f"{path}: a data set, expected an archive", _download(path))
        raise DataError(f"{path}: not a regular file")
    with reading(path, MlpcliError):
        file = open_regular(path)
    with contextlib.ExitStack() as on_error:
        on_error.enter_context(file)
        try:
            _require(file, path, source)
        except DataError as error:
            raise DataError(str(error), error.hint or _download(data_dir)) from None
        on_error.pop_all()
    return file


def _require(file: io.BufferedReader, path: Path, source: Source) -> None:
    """Raise DataError unless the open archive is `source`, naming what else it is."""
    found = digest(file, path)
    if found != source.sha256:
        archive.extract(file, path, None)  # raises where it is no archive of CIFAR-10
        raise DataError(
            f"{path}: its SHA-256 is {found}, expected {source.sha256}", hint=("--sha256", found)
        )
