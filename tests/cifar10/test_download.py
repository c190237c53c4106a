"""Downloads from a real server on 127.0.0.1 that misbehaves on purpose."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from mlpcli.cifar10 import download as downloads
from mlpcli.cifar10.download import download
from mlpcli.cifar10.sources import Source
from mlpcli.errors import DataError

BODY = np.random.default_rng(0).bytes(300_000)
DIGEST = hashlib.sha256(BODY).hexdigest()

Answer = Callable[[BaseHTTPRequestHandler, int], None]


@dataclass
class Server:
    """Answers each request with the next of `answers`, the last one for ever."""

    url: str = ""
    answers: list[Answer] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)  # that were asked for


def send(
    handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str], cut: int
) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body[:cut])


def whole(handler: BaseHTTPRequestHandler, start: int, cut: int | None = None) -> None:
    """Serve ranges as asked, closing the connection after `cut` bytes."""
    body, status, headers = BODY[start:], 200, {"Content-Length": str(len(BODY) - start)}
    if start:
        status = 206
        headers["Content-Range"] = f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"
    send(handler, status, body, headers, len(BODY) if cut is None else cut)


def broken_off(handler: BaseHTTPRequestHandler, start: int) -> None:
    whole(handler, start, cut=100_000)


def without_ranges(handler: BaseHTTPRequestHandler, start: int) -> None:
    whole(handler, 0)


def without_length(handler: BaseHTTPRequestHandler, start: int) -> None:
    send(handler, 200, BODY, {}, len(BODY))


def from_elsewhere(handler: BaseHTTPRequestHandler, start: int) -> None:
    if not start:
        return whole(handler, 0)
    span = {"Content-Range": f"bytes 7-{len(BODY) - 1}/{len(BODY)}"}
    return send(handler, 206, BODY[7:], span, len(BODY))


def other_bytes(handler: BaseHTTPRequestHandler, start: int) -> None:
    send(handler, 200, b"x" * len(BODY), {"Content-Length": str(len(BODY))}, len(BODY))


def too_long(handler: BaseHTTPRequestHandler, start: int) -> None:
    send(handler, 200, BODY * 2, {}, 2 * len(BODY))


def portal(handler: BaseHTTPRequestHandler, start: int) -> None:
    page = b"<html>Please log in</html>"
    send(handler, 200, page, {"Content-Length": str(len(page))}, len(page))


def without_length_broken_off(handler: BaseHTTPRequestHandler, start: int) -> None:
    send(handler, 200, BODY, {}, 100_000)


def status(code: int) -> Answer:
    return lambda handler, start: send(handler, code, b"", {"Content-Length": "0"}, 0)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.ranges.append(wanted)
            answer = state.answers.pop(0) if len(state.answers) > 1 else state.answers[0]
            answer(self, int(wanted[6:-1]) if wanted else 0)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=[0.01])
        thread.start()
        state.url = f"http://127.0.0.1:{http.server_port}/a.tar.gz"
        yield state
        http.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "FIRST_PAUSE", 0.001)


def fetch(server: Server, folder: Path, *more_urls: str) -> Path:
    return collect(Source("a.tar.gz", DIGEST, len(BODY), (server.url, *more_urls)), folder)[0]


def collect(source: Source, folder: Path) -> tuple[Path, list[str]]:
    """Download, and return the archive with the notices that were given."""
    notices: list[str] = []
    path = download(source, folder, lambda host, done, total: None, notices.append)
    return path, notices


@pytest.mark.parametrize(
    "answers",
    [
        [whole],
        [broken_off, broken_off, whole],
        [broken_off, status(503), status(503), whole],
        [broken_off, without_ranges],
        [broken_off, from_elsewhere],
        [broken_off, status(416), whole],
        [without_length],
        [without_length_broken_off, whole],
        [status(500), status(429), whole],
    ],
    ids=lambda answers: "-".join(getattr(a, "__name__", "?") for a in answers),
)
def test_an_archive_arrives_although_its_host_is_failing(
    server: Server, tmp_path: Path, answers: list[Answer]
) -> None:
    server.answers = answers
    assert fetch(server, tmp_path).read_bytes() == BODY
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


def test_a_second_attempt_asks_only_for_what_is_missing(server: Server, tmp_path: Path) -> None:
    server.answers = [broken_off, whole]
    fetch(server, tmp_path)
    assert server.ranges == [None, "bytes=100000-"]


def test_what_a_killed_download_had_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz.part").write_bytes(BODY[:200_000])
    server.answers = [whole]
    assert fetch(server, tmp_path).read_bytes() == BODY
    assert server.ranges == ["bytes=200000-"]


def test_a_download_killed_before_its_renaming_needs_no_request(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "a.tar.gz.part").write_bytes(BODY)
    assert fetch(server, tmp_path).read_bytes() == BODY
    assert server.ranges == []


def test_a_whole_archive_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(BODY)
    fetch(server, tmp_path)
    assert server.ranges == []


def test_a_spoiled_beginning_costs_one_more_download(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz.part").write_bytes(b"y" * 200_000)
    server.answers = [whole]
    assert fetch(server, tmp_path).read_bytes() == BODY
    assert server.ranges == ["bytes=200000-", None]


def test_the_next_mirror_goes_on_with_the_bytes_already_had(server: Server, tmp_path: Path) -> None:
    server.answers = [broken_off, status(404), whole]
    assert fetch(server, tmp_path, server.url).read_bytes() == BODY
    assert server.ranges == [None, "bytes=100000-", "bytes=100000-"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (status(404), "answered 404"),
        (status(503), "answered 503"),
        (other_bytes, "its SHA-256 is not"),
        (too_long, "sent more than"),
        (portal, "offers 26 bytes, expected 300000"),
    ],
)
def test_what_is_not_the_archive_is_refused(
    server: Server, tmp_path: Path, answer: Answer, message: str
) -> None:
    server.answers = [answer]
    with pytest.raises(DataError, match=message) as caught:
        fetch(server, tmp_path)
    assert "127.0.0.1" in str(caught.value)
    assert not (tmp_path / "a.tar.gz").exists()


def test_a_user_is_told_what_is_waited_for(server: Server, tmp_path: Path) -> None:
    server.answers = [broken_off, status(503), whole]
    _, notices = collect(Source("a.tar.gz", DIGEST, len(BODY), (server.url,)), tmp_path)
    assert [notice.partition(": ")[2] for notice in notices] == [
        "broke off; trying again in 0.001 s",
        "answered 503 Service Unavailable; trying again in 0.002 s",
    ]


def test_attempts_are_bounded(server: Server, tmp_path: Path) -> None:
    server.answers = [status(503)]
    with pytest.raises(DataError):
        fetch(server, tmp_path)
    assert len(server.ranges) == downloads.ATTEMPTS


def test_nobody_there_is_said_in_one_line(tmp_path: Path) -> None:
    source = Source("a.tar.gz", DIGEST, None, ("http://127.0.0.1:1/a.tar.gz",))
    with pytest.raises(DataError, match=r"127\.0\.0\.1:1: no connection"):
        collect(source, tmp_path)
