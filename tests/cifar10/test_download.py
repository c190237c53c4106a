"""Downloads from a real server on 127.0.0.1; how it may misbehave is in faults/hosts.py."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from servers import BODY, DIGEST, OTHER, Sends, serving, status

from mlpcli.cifar10 import download as downloads
from mlpcli.cifar10 import http
from mlpcli.cifar10.download import download
from mlpcli.cifar10.http import Request
from mlpcli.cifar10.mirrors import Source
from mlpcli.errors import MlpcliError


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "FIRST_PAUSE", 0.001)


@pytest.fixture
def _no_network_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith(("_proxy", "_ca_bundle")):
            monkeypatch.delenv(name)


class Watcher:
    """Downloads, and keeps what a user is shown."""

    def __init__(self) -> None:
        self.notices: list[str] = []
        self.shown: list[list[object]] = []  # of each answer: host, first byte, total, and counts

    def fetch(self, folder: Path, *urls: str) -> Path:
        """Return the path of what was downloaded; the file that was returned is the one there."""
        source, path = Source("a.tar.gz", DIGEST, len(BODY), urls), folder / "a.tar.gz"
        with download(source, folder, self._progress, self.notices.append, 0) as file:
            assert os.path.samestat(os.fstat(file.fileno()), path.stat())
        return path

    @contextmanager
    def _progress(
        self, host: str, start: int, total: int | None
    ) -> Iterator[Callable[[int], object]]:
        counts: list[int] = []
        yield counts.append
        self.shown.append([host, start, total, sum(counts)])


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


def test_an_archive_arrives(watcher: Watcher, tmp_path: Path) -> None:
    with serving(Sends()) as server:
        assert watcher.fetch(tmp_path, server.url).read_bytes() == BODY
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]
    assert watcher.shown == [[server.host, 0, len(BODY), len(BODY)]]
    assert watcher.notices == []


def test_a_killed_download_is_resumed(watcher: Watcher, tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz.part").write_bytes(BODY[:200_000])
    with serving(Sends()) as server:
        assert watcher.fetch(tmp_path, server.url).read_bytes() == BODY
    assert server.asked == [200_000]
    assert watcher.shown == [[server.host, 200_000, len(BODY), 100_000]]


def test_a_download_killed_before_its_renaming_needs_no_request(
    watcher: Watcher, tmp_path: Path
) -> None:
    (tmp_path / "a.tar.gz.part").write_bytes(BODY)
    (tmp_path / "a.tar.gz.part.etag").write_text("x")
    assert watcher.fetch(tmp_path).read_bytes() == BODY
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


def test_a_complete_archive_is_not_fetched_again(watcher: Watcher, tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(BODY)
    assert watcher.fetch(tmp_path).read_bytes() == BODY


def test_another_archive_is_moved(watcher: Watcher, tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(OTHER)
    with serving(Sends()) as server:
        assert watcher.fetch(tmp_path, server.url).read_bytes() == BODY
    assert (tmp_path / "a.tar.gz.old").read_bytes() == OTHER
    assert "not the requested archive, moved to a.tar.gz.old" in watcher.notices[0]


def test_mirrors_are_asked_in_their_order(watcher: Watcher, tmp_path: Path) -> None:
    with serving(status(404)) as first, serving(Sends()) as second, serving(Sends()) as third:
        watcher.fetch(tmp_path, first.url, second.url, third.url)
    assert (first.asked, second.asked, third.asked) == ([0], [0], [])


def test_a_user_is_told_what_is_waited_for(watcher: Watcher, tmp_path: Path) -> None:
    with (
        serving(Sends(cut=100_000), status(503), status(503), status(404)) as server,
        serving(Sends(OTHER), Sends()) as mirror,
    ):
        watcher.fetch(tmp_path, server.url, mirror.url)
    assert watcher.notices == [
        f"{server.host}: connection lost; retrying in 0.001 s",
        f"{server.host}: answered 503 Service Unavailable; retrying in 0.001 s",
        f"{server.host}: answered 503 Service Unavailable; retrying in 0.002 s",
        f"{server.host}: answered 404 Not Found",
        f"{mirror.host}: its SHA-256 is not {DIGEST}, moved to a.tar.gz.wrong; "
        "retrying from the start",
    ]


def test_a_disk_that_cannot_be_written_is_no_fault_of_the_host(
    watcher: Watcher, tmp_path: Path
) -> None:
    (tmp_path / "a.tar.gz.part").mkdir()
    with serving(Sends()) as server, pytest.raises(MlpcliError, match=r"part: .*directory"):
        watcher.fetch(tmp_path, server.url)


def test_a_request_that_was_left_ends_by_itself(watcher: Watcher, tmp_path: Path) -> None:
    with serving(Sends(length=False, junk=bytes(2**20))) as server:
        watcher.fetch(tmp_path, server.url)
        left = [thread for thread in threading.enumerate() if type(thread) is Request]
        for thread in left:
            thread.join(5)
            assert not thread.is_alive()


@pytest.mark.parametrize("plant", [Path.symlink_to, Path.hardlink_to])
def test_nothing_is_written_through_a_link(
    watcher: Watcher, tmp_path: Path, plant: Callable[[Path, Path], None]
) -> None:
    victim, data_dir = tmp_path / "victim", tmp_path / "data"
    victim.write_bytes(b"precious")
    data_dir.mkdir()
    plant(data_dir / "a.tar.gz.part", victim)
    with serving(Sends()) as server, pytest.raises(MlpcliError, match=r"part: .* own") as caught:
        watcher.fetch(data_dir, server.url)
    assert caught.value.hint == f"rm {data_dir / 'a.tar.gz.part'}"
    assert victim.read_bytes() == b"precious"


def test_an_archive_that_was_moved_before_is_kept(watcher: Watcher, tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz.old").write_bytes(b"kept")
    (tmp_path / "a.tar.gz").write_bytes(OTHER)
    with serving(Sends()) as server:
        watcher.fetch(tmp_path, server.url)
    assert (tmp_path / "a.tar.gz.old").read_bytes() == b"kept"
    assert (tmp_path / "a.tar.gz.old.2").read_bytes() == OTHER


@pytest.mark.usefixtures("_no_network_settings")
@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("https_proxy", "http://joe:pa/S3cret@host:1", "https_proxy: not a proxy's address"),
        ("HTTPS_PROXY", "http://[::1", "HTTPS_PROXY: not a proxy's address"),
        ("all_proxy", "ftp://host:1", "all_proxy: not a proxy's address"),
        ("https_proxy", "http://host:port", "https_proxy: not a proxy's address"),
        ("https_proxy", "socks5://host:1", "https_proxy: a socks5 proxy needs PySocks"),
        ("REQUESTS_CA_BUNDLE", "/nowhere", "REQUESTS_CA_BUNDLE: /nowhere: No such file"),
        ("CURL_CA_BUNDLE", __file__, "CURL_CA_BUNDLE: .*: not a file of certificates"),
    ],
)
def test_a_variable_that_no_request_can_work_with_is_named(
    watcher: Watcher,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    message: str,
) -> None:
    monkeypatch.setattr(http, "find_spec", lambda name: None)  # as where PySocks is missing
    monkeypatch.setenv(variable, value)
    with pytest.raises(MlpcliError, match=f"^{message}") as caught:
        watcher.fetch(tmp_path, "https://host.example/a.tar.gz")
    assert "S3cret" not in str(caught.value)
    assert watcher.notices == []


@pytest.mark.usefixtures("_no_network_settings")
def test_a_proxy_that_cannot_be_reached_is_named_and_not_the_mirror(
    watcher: Watcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://joe:S3cret@127.0.0.1:1")
    with pytest.raises(
        MlpcliError, match=r"host\.example: the proxy 127\.0\.0\.1:1: no connection"
    ):
        watcher.fetch(tmp_path, "https://host.example/a.tar.gz")
