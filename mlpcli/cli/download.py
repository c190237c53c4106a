"""`mlpcli download`: CIFAR-10 from a mirror, from a file, or the shapes in its place."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlpcli.cli import _options as options
from mlpcli.errors import ConfigError, DataError, MlpcliError
from mlpcli.files import locked

if TYPE_CHECKING:
    from mlpcli.cifar10.mirrors import Source

MIRRORS = "MLPCLI_CIFAR10_URL"
EVERY = 10.0  # seconds between two lines about a download, where there is no terminal


@click.command()
@options.data_dir
@click.option(
    "--url",
    "urls",
    metavar="URL",
    multiple=True,
    help=f"A mirror; several are tried in this order.  [default: ${MIRRORS}, or the built-in list]",
)
@click.option("--sha256", metavar="HEX", help="The archive's digest, where it is not the official.")
@click.option(
    "--min-speed",
    metavar="KB/S",
    type=click.IntRange(min=0),
    default=250,
    show_default=True,
    help="Leave a slower host for the next one; 0 never does. If all are slow, the best is taken.",
)
@click.option(
    "--from",
    "from_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Take an archive that is already on disk.",
)
@click.option("--synthetic", is_flag=True, help="Write the embedded shapes as batches instead.")
@click.option("--offline", is_flag=True, help="Ask no host: use only what the folder holds.")
@click.option("--list-mirrors", is_flag=True, help="Print the addresses to be tried, and ask none.")
@click.option("--force", is_flag=True, help="Replace a data set that is already there.")
@options.verbosity
def download(
    data_dir: Path | None,
    urls: tuple[str, ...],
    sha256: str | None,
    min_speed: int,
    from_file: Path | None,
    synthetic: bool,
    offline: bool,
    list_mirrors: bool,
    force: bool,
) -> None:
    """Fetch CIFAR-10 (163 MiB), check its digest and unpack it.

    A download that broke off goes on where it stopped when it is called again.

    \b
    mlpcli download
    mlpcli download --url http://mirror.example/cifar-10-python.tar.gz --data-dir data
    mlpcli download --min-speed 1000
    mlpcli download --list-mirrors
    mlpcli download --from cifar-10-python.tar.gz
    mlpcli download --offline --data-dir data
    mlpcli download --synthetic --data-dir shapes
    """
    if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise ConfigError(f"--sha256 {sha256}: expected 64 hexadecimal digits")
    if (urls and from_file) or (synthetic and (urls or from_file or sha256)):
        raise ConfigError("--url, --from and --synthetic exclude one another")
    if offline and urls:
        raise ConfigError("--url and --offline exclude one another")

    from mlpcli.cifar10 import archive
    from mlpcli.cifar10 import synthetic as shapes
    from mlpcli.cifar10.batches import write_folder
    from mlpcli.data import dataset

    if list_mirrors:
        _list(_source(_mirrors(urls), sha256))
        return
    folder = dataset.data_dir(data_dir)
    local = bool(offline or synthetic or from_file)
    source = _source(() if local else _mirrors(urls), sha256)
    if not force and _is_whole(folder):
        return
    if offline and not (synthetic or from_file):
        from_file = _kept(folder / source.file_name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MlpcliError(f"{folder}: cannot be made: {error.strerror}") from None
    with locked(folder):
        if synthetic:
            with archive.new_folder(folder, "the shapes") as staging:
                write_folder(staging, shapes.LABEL_NAMES, shapes.draw_train(), shapes.draw_test())
        elif from_file:
            archive.unpack(_checked(from_file, source), folder)
        else:
            archive.unpack(_fetch(source, folder, min_speed), folder)
    _report(folder, f"written to {folder}")


def _mirrors(urls: tuple[str, ...]) -> tuple[str, ...]:
    """Return the addresses of the command line, else of the environment, else none."""
    name = "--url" if urls else MIRRORS
    urls = urls or tuple(os.environ.get(MIRRORS, "").split())
    for url in urls:
        _require_address(name, url)
    return urls


def _require_address(name: str, url: str) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, half of a bracket
        is_one = False
    if not (is_one and url.isprintable()):
        raise ConfigError(
            f"{name} {_without_password(url)}: expected an address as in https://host/file.tar.gz"
        )


def _without_password(url: str) -> str:
    return re.sub("//[^/]*@", "//", url)


def _source(urls: tuple[str, ...], sha256: str | None) -> Source:
    """Return the official archive, or another one of its kind, at `urls` if there are any."""
    from mlpcli.cifar10.mirrors import OFFICIAL

    return dataclasses.replace(
        OFFICIAL,
        urls=urls or OFFICIAL.urls,
        sha256=(sha256 or OFFICIAL.sha256).lower(),
        size=None if sha256 else OFFICIAL.size,
    )


def _list(source: Source) -> None:
    """Print what would be fetched, and from where."""
    size = f"{source.size:,} bytes ({_mebibytes(source.size)})" if source.size else "of any size"
    click.echo(f"{source.file_name}, {size}")
    click.echo(f"SHA-256 {source.sha256}")
    for number, url in enumerate(source.urls, 1):
        click.echo(f"{number}. {_without_password(url)}")


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:.0f} MiB"


def _is_whole(folder: Path) -> bool:
    """Say what is there already. Raises DataError for what is there and not whole."""
    from mlpcli.cifar10 import batches

    if not any((folder / name).exists() for name in (batches.PYTHON_FOLDER, batches.BINARY_FOLDER)):
        return False
    try:
        _report(folder, f"already in {folder} (--force replaces them)")
    except DataError as error:
        raise DataError(str(error), hint="--force replaces what is there") from None
    return True


def _report(folder: Path, where: str) -> None:
    """Read the whole data set and say what it is."""
    from mlpcli.cifar10 import archive

    train, test = archive.require_whole(folder)
    click.echo(f"{train:,} training and {test:,} test images, {where}")


def _kept(path: Path) -> Path:
    """Return the archive that an earlier download left in the folder, if it did."""
    if not path.exists():
        raise DataError(
            f"{path.parent}: holds neither a data set nor {path.name}, and --offline asks no host",
            hint="leave out --offline, or name an archive with --from",
        )
    return path


def _checked(path: Path, source: Source) -> Path:
    """Return the archive at `path` if its digest is the expected one."""
    from mlpcli.cifar10.download import file_sha256
    from mlpcli.cifar10.mirrors import MAX_ARCHIVE_BYTES

    if path.exists() and not path.is_file():
        raise DataError(f"{path}: not a regular file")
    if path.exists() and path.stat().st_size > MAX_ARCHIVE_BYTES:
        raise DataError(f"{path}: over {_mebibytes(MAX_ARCHIVE_BYTES)}, too large for CIFAR-10")
    found = file_sha256(path)
    if found != source.sha256:
        raise DataError(
            f"{path}: its SHA-256 is {found}, expected {source.sha256}",
            hint=f"--sha256 {found}, if this is the archive you mean",
        )
    return path


def _fetch(source: Source, folder: Path, min_speed: int) -> Path:
    """Download, and show it: by a bar, or where there is no terminal by a line now and then.

    Of a host that fails or is slow it is always said why it is left.
    """
    from mlpcli.cifar10.download import download

    progress = _bar if sys.stderr.isatty() else _lines
    if options.is_quiet():
        progress = _nothing
    return download(
        source, folder, progress, lambda text: click.echo(text, err=True), min_speed * 1000
    )


@contextlib.contextmanager
def _nothing(host: str, start: int, total: int | None) -> Iterator[Callable[[int], object]]:
    yield lambda count: None


@contextlib.contextmanager
def _bar(host: str, start: int, total: int | None) -> Iterator[Callable[[int], object]]:
    """Show how far, how fast and how long; what was there before counts for the first alone."""
    from tqdm import tqdm

    with tqdm(desc=host, initial=start, total=total, unit="B", unit_scale=True, leave=False) as bar:
        yield bar.update


@contextlib.contextmanager
def _lines(host: str, start: int, total: int | None) -> Iterator[Callable[[int], object]]:
    """Say how far, how fast and how long, in a line every ten seconds."""
    began = said = time.monotonic()
    done = start

    def advance(count: int) -> None:
        nonlocal done, said
        done += count
        now = time.monotonic()
        if now >= said + EVERY:
            said = now
            click.echo(f"{host}: {_how_far(done, total, (done - start) / (now - began))}", err=True)

    yield advance


def _how_far(done: int, total: int | None, speed: float) -> str:
    """As in `12% of 163 MiB, 61 kB/s, 39 min left`; `speed` is in bytes/s."""
    if total is None:
        return f"{_mebibytes(done)}, {speed / 1000:.0f} kB/s"
    left = (total - done) / speed
    time_left = f"{left / 60:.0f} min" if left >= 100 else f"{left:.0f} s"
    return f"{done / total:.0%} of {_mebibytes(total)}, {speed / 1000:.0f} kB/s, {time_left} left"
