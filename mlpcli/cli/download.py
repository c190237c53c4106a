"""`mlpcli download`: CIFAR-10 from a mirror or a file, or synthetic shapes in its place."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from mlpcli import files
from mlpcli.cifar10.mirrors import VARIABLE
from mlpcli.cli import _options as options
from mlpcli.cli._progress import Bar
from mlpcli.errors import ConfigError, printable

EVERY = 10.0  # seconds between two lines of progress, where there is no terminal


@click.command()
@options.data_dir
@click.option(
    "--url",
    "urls",
    metavar="URL",
    multiple=True,
    help=f"A mirror; several are tried in order.  [default: ${VARIABLE}, or the built-in list]",
)
@click.option("--sha256", metavar="HEX", help="The archive's digest, if not the official one.")
@click.option(
    "--min-speed",
    metavar="KB/S",
    type=click.IntRange(min=0),
    default=250,
    show_default=True,
    help="Leave slower hosts for the next one; 0: any speed. If all are slow, use the fastest.",
)
@click.option(
    "--from",
    "from_file",
    metavar="FILE",
    type=options.PATH,
    help="Unpack an archive that is already on disk.",
)
@click.option("--synthetic", is_flag=True, help="Write synthetic shapes in this format instead.")
@click.option("--offline", is_flag=True, help="Use no network, only the archive in the folder.")
@click.option("--list-mirrors", is_flag=True, help="Print the mirrors to be tried, and exit.")
@click.option("--force", is_flag=True, help="Replace an existing data set.")
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

    An interrupted download is resumed when the command is run again.

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

    if from_file and re.match("https?:/", str(from_file)):
        raise ConfigError("--from takes a file, --url an address")

    from mlpcli.cifar10 import install

    local = bool(offline or synthetic or from_file) and not list_mirrors
    source = install.choose_source(urls, sha256, local=local)
    if list_mirrors:
        count = source.size
        size = f"{count:,} bytes ({_mebibytes(count)})" if count else "of any size"
        click.echo(f"{source.file_name}, {size}")
        click.echo(f"SHA-256 {source.sha256}")
        for number, url in enumerate(source.urls, 1):
            click.echo(f"{number}. {printable(install.hidden(url))}")
        return
    folder = files.data_dir(data_dir)
    progress = _bar if sys.stderr.isatty() else _lines
    train, test, is_new = install.install(
        folder,
        source,
        _no_progress if options.is_quiet() else progress,
        lambda text: click.echo(printable(text), err=True),
        from_file=from_file,
        shapes=synthetic,
        offline=offline,
        force=force,
        min_speed=min_speed * 1000,
    )
    old = f"already in {folder} (--force replaces them)"
    where = f"written to {folder}" if is_new else old
    click.echo(f"{train:,} training and {test:,} test images, {where}")


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:.0f} MiB"


def _no_progress(*_: object) -> contextlib.nullcontext[Callable[[int], object]]:
    return contextlib.nullcontext(lambda count: None)


@contextlib.contextmanager
def _bar(host: str, start: int, total: int | None) -> Iterator[Callable[[int], object]]:
    """Show progress, speed and time left as a bar; the speed is that of the new bytes."""
    with Bar() as bar:
        bar.unit, bar.unit_scale = "B", True
        bar.layout = "{desc} {percentage:3.0f}% |{bar}| {n_fmt}B, {rate_fmt}, {remaining} left"
        if total is None:
            bar.layout = "{desc} {n_fmt}B, {rate_fmt}"
        bar.begin(total, start)
        done = start

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if bar.is_due:
                bar.advance(done, desc=host)

        yield advance


@contextlib.contextmanager
def _lines(host: str, start: int, total: int | None) -> Iterator[Callable[[int], object]]:
    """Print progress, speed and time left every ten seconds."""
    began = printed = time.monotonic()
    done = start

    def advance(count: int) -> None:
        nonlocal done, printed
        done += count
        now = time.monotonic()
        if now >= printed + EVERY:
            printed = now
            click.echo(
                f"{host}: {_progress(done, total, (done - start) / (now - began))}", err=True
            )

    yield advance


def _progress(done: int, total: int | None, speed: float) -> str:
    """Return a text as `12% of 163 MiB, 61 kB/s, 39 min left`; `speed` is in bytes/s."""
    if total is None:
        return f"{_mebibytes(done)}, {speed / 1000:.0f} kB/s"
    left = (total - done) / speed
    time_left = f"{left / 60:.0f} min" if left >= 100 else f"{left:.0f} s"
    return f"{done / total:.0%} of {_mebibytes(total)}, {speed / 1000:.0f} kB/s, {time_left} left"
