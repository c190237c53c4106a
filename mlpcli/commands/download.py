"""`mlpcli download`: CIFAR-10 from a mirror, from a file, or the shapes in its place."""

from __future__ import annotations

import dataclasses
import re
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlpcli.commands import options
from mlpcli.errors import ConfigError, DataError, MlpcliError
from mlpcli.files import locked

if TYPE_CHECKING:
    from mlpcli.cifar10.sources import Source


@click.command()
@options.data_dir
@click.option("--url", "urls", metavar="URL", multiple=True, help="A mirror, tried in this order.")
@click.option("--sha256", metavar="HEX", help="The archive's digest, where it is not the official.")
@click.option(
    "--from",
    "from_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Take an archive that is already on disk.",
)
@click.option("--synthetic", is_flag=True, help="Write the embedded shapes as batches instead.")
@click.option("--force", is_flag=True, help="Replace a data set that is already there.")
def download(
    data_dir: Path | None,
    urls: tuple[str, ...],
    sha256: str | None,
    from_file: Path | None,
    synthetic: bool,
    force: bool,
) -> None:
    """Fetch CIFAR-10 (163 MiB), check its digest and unpack it.

    A download that broke off goes on where it stopped when it is called again.

    \b
    mlpcli download
    mlpcli download --url http://mirror.example/cifar-10-python.tar.gz --data-dir data
    mlpcli download --from cifar-10-python.tar.gz
    mlpcli download --synthetic --data-dir shapes
    """
    if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise ConfigError(f"--sha256 {sha256}: expected 64 hexadecimal digits")
    if (urls and from_file) or (synthetic and (urls or from_file or sha256)):
        raise ConfigError("--url, --from and --synthetic exclude one another")
    for url in urls:
        _require_address(url)

    from mlpcli.cifar10 import archive, dataset
    from mlpcli.cifar10 import synthetic as shapes
    from mlpcli.cifar10.batches import write_folder
    from mlpcli.cifar10.sources import OFFICIAL

    folder = dataset.data_dir(data_dir)
    if not force and _is_whole(folder):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MlpcliError(f"{folder}: cannot be made: {error.strerror}") from None
    with locked(folder):
        if synthetic:
            with archive.new_folder(folder, "the shapes") as staging:
                write_folder(staging, shapes.LABEL_NAMES, shapes.draw_train(), shapes.draw_test())
        else:
            source = dataclasses.replace(
                OFFICIAL,
                urls=urls or OFFICIAL.urls,
                sha256=(sha256 or OFFICIAL.sha256).lower(),
                size=None if sha256 else OFFICIAL.size,
            )
            path = _fetch(source, folder) if from_file is None else _checked(from_file, source)
            archive.unpack(path, folder)
    _report(folder, f"written to {folder}")


def _require_address(url: str) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, half of a bracket
        is_one = False
    if not is_one:
        raise ConfigError(f"--url {url}: expected an address as in https://host/file.tar.gz")


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


def _checked(path: Path, source: Source) -> Path:
    """Return the archive at `path` if its digest is the expected one."""
    from mlpcli.cifar10.download import file_sha256

    found = file_sha256(path)
    if found != source.sha256:
        raise DataError(
            f"{path}: its SHA-256 is {found}, expected {source.sha256}",
            hint=f"--sha256 {found}, if this is the archive you mean",
        )
    return path


def _fetch(source: Source, folder: Path) -> Path:
    """Download with a bar of bytes and rate, where there is a terminal."""
    from tqdm import tqdm

    from mlpcli.cifar10.download import download

    with tqdm(unit="B", unit_scale=True, unit_divisor=1024, disable=None, leave=False) as bar:

        def progress(host: str, done: int, total: int | None) -> None:
            bar.total = total
            bar.set_description(host, refresh=False)
            bar.update(done - bar.n)

        def notice(text: str) -> None:
            bar.clear()
            click.echo(text, err=True)

        return download(source, folder, progress, notice)
