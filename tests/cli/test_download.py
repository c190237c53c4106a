"""`mlpcli download` at the command line: its options, its mirrors, and what it shows."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shlex
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import Command, write_shapes
from servers import Sends, serving, status

from mlpcli.cifar10 import batches
from mlpcli.cifar10.mirrors import MAX_ARCHIVE_BYTES, OFFICIAL
from mlpcli.cli import download as command

NAME = OFFICIAL.file_name


@pytest.fixture(scope="session")
def packed(shapes_dir: Path) -> bytes:
    """The small data set as an archive."""
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as tar:
            tar.add(shapes_dir / batches.PYTHON_FOLDER, batches.PYTHON_FOLDER)
        return file.getvalue()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def with_mirrors(*urls: str) -> dict[str, str]:
    return {**os.environ, "MLPCLI_CIFAR10_URL": " ".join(urls)}


def test_a_data_set_comes_from_the_second_mirror(
    mlpcli: Command, packed: bytes, tmp_path: Path
) -> None:
    with serving(status(404)) as first, serving(Sends(packed)) as second:
        urls = ("--url", first.url, "--url", second.url)
        done = mlpcli("download", *urls, "--sha256", digest(packed), "--data-dir", "data")
    assert done.returncode == 0, done.stderr
    assert "200 training and 40 test images, written to data" in done.stdout
    assert done.stderr == f"{first.host}: answered 404 Not Found\n"
    names = {path.name for path in (tmp_path / "data").iterdir()}
    assert names == {NAME, "lock", batches.PYTHON_FOLDER}


def test_a_slow_host_is_good_enough_for_who_asks_for_no_speed(
    mlpcli: Command, packed: bytes
) -> None:
    with serving(Sends(packed, speed=len(packed) * 2)) as server:
        arguments = ("--url", server.url, "--sha256", digest(packed), "--data-dir", "data")
        done = mlpcli("download", *arguments, "--min-speed", 0)
    assert (done.returncode, done.stderr) == (0, "")


def test_mirrors_are_listed_in_their_order(mlpcli: Command, tmp_path: Path) -> None:
    done = mlpcli("download", "--list-mirrors")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"{NAME}, 170,498,071 bytes (163 MiB)",
        f"SHA-256 {OFFICIAL.sha256}",
        *(f"{number}. {url}" for number, url in enumerate(OFFICIAL.urls, 1)),
    ]
    assert list(tmp_path.iterdir()) == []


def test_the_environment_names_mirrors_and_the_command_line_comes_before_it(
    mlpcli: Command,
) -> None:
    mirrors = with_mirrors("http://a.example/x", "http://user:password@b.example/x")
    done = mlpcli("download", "--list-mirrors", "--sha256", "0" * 64, env=mirrors)
    assert done.stdout.splitlines() == [
        f"{NAME}, of any size",
        f"SHA-256 {'0' * 64}",
        "1. http://a.example/x",
        "2. http://***@b.example/x",
    ]
    done = mlpcli("download", "--list-mirrors", "--url", "http://c.example/x", env=mirrors)
    assert done.stdout.splitlines()[2:] == ["1. http://c.example/x"]
    assert "toronto" in mlpcli("download", "--list-mirrors", env=with_mirrors()).stdout


def test_a_wrong_mirror_of_the_environment_is_named_and_concerns_downloads_alone(
    mlpcli: Command,
) -> None:
    mirrors = with_mirrors("http://a.example/x", "ftp://user:password@b.example/x")
    done = mlpcli("download", env=mirrors)
    assert done.returncode == 2
    assert done.stderr == (
        "error: MLPCLI_CIFAR10_URL ftp://***@b.example/x: expected an address as in "
        "https://host/file.tar.gz\n"
    )
    assert mlpcli("download", "--synthetic", "--data-dir", "data", env=mirrors).returncode == 0
    assert mlpcli("download", "--from", "nowhere", "--data-dir", "d", env=mirrors).returncode == 1


def test_offline_takes_what_is_there_and_asks_nobody(
    mlpcli: Command, packed: bytes, tmp_path: Path
) -> None:
    with serving(Sends(packed)) as server:
        offline = ("download", "--offline", "--sha256", digest(packed), "--data-dir", "data")
        done = mlpcli(*offline, env=with_mirrors(server.url))
        assert done.returncode == 4
        assert done.stderr.splitlines() == [
            f"error: data: holds neither a data set nor {NAME}, and --offline fetches nothing",
            "  try: mlpcli download --data-dir data",
        ]
        assert not (tmp_path / "data").exists()
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / NAME).write_bytes(packed)
        assert "written to data" in mlpcli(*offline, env=with_mirrors(server.url)).stdout
        assert "already in data" in mlpcli(*offline, env=with_mirrors(server.url)).stdout
    assert server.asked == []


def test_an_archive_of_another_digest_is_refused_offline_and_kept(
    mlpcli: Command, packed: bytes, tmp_path: Path
) -> None:
    (tmp_path / NAME).write_bytes(packed)
    done = mlpcli("download", "--offline", "--data-dir", ".")
    assert done.returncode == 4
    assert f"its SHA-256 is {digest(packed)}" in done.stderr
    assert (tmp_path / NAME).read_bytes() == packed


def test_what_can_be_no_archive_is_refused_before_it_is_read(
    mlpcli: Command, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(MAX_ARCHIVE_BYTES + 1)
    for name, message in {
        "fifo": "fifo: not a regular file",
        "/dev/zero": "/dev/zero: not a regular file",
        ".": ".: not a regular file",
        "large": "large: over 256 MiB",
    }.items():
        done = mlpcli("download", "--from", name, "--data-dir", "data")
        assert done.returncode == 4, name
        assert done.stderr.startswith(f"error: {message}")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--min-speed", "-1"],
        ["--min-speed", "fast"],
        ["--min-speed", "nan"],
        ["--offline", "--url", "http://a.example/x"],
        ["--url", "http://a.example/\x1b[2J"],
    ],
)
def test_wrong_options_are_refused(mlpcli: Command, arguments: list[str]) -> None:
    done = mlpcli("download", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "\x1b" not in done.stderr


def test_every_example_of_the_help_is_a_command_line() -> None:
    assert command.download.help is not None
    examples = re.findall(r"^ *mlpcli download(.*)$", command.download.help, re.MULTILINE)
    assert len(examples) > 5
    for example in examples:
        command.download.make_context("download", shlex.split(example))


def test_without_a_terminal_a_line_says_how_far_how_fast_and_how_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = iter([0.0, 4.0, 12.0, 15.0, 25.0])
    monkeypatch.setattr(command, "time", SimpleNamespace(monotonic=lambda: next(now)))
    with command._lines("mirror.example", 50 * 2**20, OFFICIAL.size) as advance:
        for _ in range(4):
            advance(300_000)  # 50 MiB were there before: they are far, but not fast
    assert capsys.readouterr().err.splitlines() == [
        "mirror.example: 31% of 163 MiB, 50 kB/s, 39 min left",
        "mirror.example: 31% of 163 MiB, 48 kB/s, 41 min left",
    ]
    assert command._progress(2**20, None, 61_000) == "1 MiB, 61 kB/s"
    assert command._progress(2**20, 2**21, 2**16) == "50% of 2 MiB, 66 kB/s, 16 s left"


@pytest.mark.parametrize(
    "url",
    [
        "http://bob:pa/S3cret@host.example/a",
        "http://bob:pa@S3cret@host.example:x/a",
        "http://bob:pa S3cret@host.example/a",
        "bob:S3cret@host.example/a",
        "ftp://host.example/a?token=S3cret",
    ],
)
def test_no_password_is_shown(mlpcli: Command, url: str) -> None:
    for arguments in (["--url", url], ["--list-mirrors", "--url", url]):
        done = mlpcli("--debug", "download", *arguments)
        assert "S3cret" not in done.stdout + done.stderr
        assert "host.example" in done.stderr


def test_an_archive_of_another_digest_is_accepted_by_the_hint(
    mlpcli: Command, packed: bytes, tmp_path: Path
) -> None:
    (tmp_path / "a.tar.gz").write_bytes(packed)
    done = mlpcli("download", "--from", "a.tar.gz", "--data-dir=data")
    assert done.returncode == 4
    hint = done.stderr.splitlines()[1].removeprefix("  try: mlpcli ")
    assert hint == f"download --from a.tar.gz --data-dir=data --sha256 {digest(packed)}"
    assert "written to data" in mlpcli(*shlex.split(hint)).stdout


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\3\4", "found a zip archive"),
        (bytes(257) + b"ustar", "found a tar archive that is not compressed"),
        (b"version https://git-lfs.github.com/spec/v1", "found a Git LFS pointer"),
        (b"hello", "found a file of no known format"),
    ],
)
def test_what_is_no_archive_is_named_and_its_digest_not_asked_for(
    mlpcli: Command, tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "a.tar.gz").write_bytes(content)
    done = mlpcli("download", "--from", "a.tar.gz", "--data-dir", "data")
    assert done.returncode == 4
    assert f"a.tar.gz: {message}, expected" in done.stderr
    assert "--sha256" not in done.stderr


def test_a_data_set_is_replaced_in_the_folder_that_was_named_alone(
    mlpcli: Command, tmp_path: Path
) -> None:
    write_shapes(tmp_path / "data")
    (tmp_path / "data" / batches.PYTHON_FOLDER / "data_batch_4").unlink()
    done = mlpcli("download", "--synthetic", "--data-dir", "data")
    assert done.returncode == 4
    missing = f"data/{batches.PYTHON_FOLDER}/data_batch_4: missing"
    assert done.stderr.splitlines() == [
        f"error: {missing} (--force replaces the data set)",
        "  try: mlpcli download --synthetic --data-dir data --force",
    ]
    own = ("--data-dir", f"data/{batches.PYTHON_FOLDER}")
    done = mlpcli("download", "--synthetic", "--force", *own)
    assert done.stderr.splitlines()[1] == (
        "  try: mlpcli download --synthetic --force --data-dir data"
    )


def test_an_address_is_no_file(mlpcli: Command) -> None:
    done = mlpcli("download", "--from", "https://bob:S3cret@host.example/a.tar.gz")
    assert done.stderr == "error: --from takes a file, --url an address\n"
