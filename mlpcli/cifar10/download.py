"""Fetches an archive over HTTP although hosts fail: resumed, retried, and kept only if whole.

The bytes go to `<archive>.part` in the folder where the archive will stand; it takes its name only
when its SHA-256 is the expected one. The digest decides, whichever mirrors the bytes came from.
A host that is down, or slower than a floor, is left for the next one, which goes on with the bytes
already had.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import queue
import re
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

import requests

from mlpcli.cifar10.mirrors import MAX_ARCHIVE_BYTES, Source
from mlpcli.errors import DataError, MlpcliError
from mlpcli.files import open_regular, sync_folder

CHUNK = 2**14
ATTEMPTS = 3  # at one address, without a single new byte
FIRST_PAUSE = 1.0  # seconds before an address is asked again; doubled after an attempt in vain
WINDOW = 10.0  # seconds over which a host's speed is averaged
SLOWEST = 1000.0  # bytes/s that even the best of slow hosts has to give
PATIENCE = 30.0  # seconds for an answer, or for the next bytes, where no speed is asked for
MAX_REDIRECTS = 5
STRONG_ETAG = '"[!#-~]*"'  # that of a host which promises the same bytes; a weak one begins with W/

# Told of each answer with its host, the offset of its first byte and the size of the whole, if
# known; what it gives is called with the count of every few bytes that come.
Progress = Callable[[str, int, int | None], AbstractContextManager[Callable[[int], object]]]
Notice = Callable[[str], None]  # what went wrong and what is done about it


class _TransferError(Exception):
    """An attempt failed; `final` where another one at the same address would fail too."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


class _SlowError(_TransferError):
    """The host is to be left; `fastest` is the best it gave. All in bytes/s."""

    def __init__(self, speed: float, floor: float, fastest: float) -> None:
        found, expected = f"{speed / 1000:.0f} kB/s", f"{floor / 1000:.0f} kB/s"
        super().__init__(f"too slow: {found}, expected {expected}", final=True)
        self.fastest = fastest


def download(
    source: Source, folder: Path, progress: Progress, notice: Notice, min_speed: float
) -> Path:
    """Fetch `source` into `folder` and return its path; what a broken-off call had is kept.

    A host that gives less than `min_speed` bytes/s is left for the next one; if that is all there
    are, the best of them are taken up again. With 0 a host may be as slow as it likes.
    Raises DataError where no address yields the archive with the expected digest.
    """
    archive = folder / source.file_name
    if archive.exists():
        if file_sha256(archive) == source.sha256:
            return archive
        aside = archive.with_name(f"{archive.name}.old")
        archive.replace(aside)
        notice(f"{archive}: another archive than was asked for, set aside as {aside.name}")
    part = _Part(folder / f"{source.file_name}.part", source)
    if part.is_whole():  # it only lacked its name
        return part.named(archive)
    if part.size() >= part.limit:
        notice(f"{part.path}: {part.set_aside()}")
    problems: dict[str, str] = {}
    speeds: dict[str, float] = {}  # of the hosts that were left as too slow
    for url, floor in _turns(source.urls, min_speed, speeds):
        if url in speeds:
            notice(f"{_host(url)}: taken up again, for want of a faster one")
        try:
            _Visit(url, part, floor, progress, notice).fetch()
        except _TransferError as error:
            if isinstance(error, _SlowError):
                speeds[url] = error.fastest
            problems[url] = f"{_host(url)}: {error}"
            notice(problems[url])
        else:
            return part.named(archive)
    raise DataError(
        f"{source.file_name}: could not be fetched: {'; '.join(problems.values())}",
        hint="run it again to go on where it broke off, or name a mirror with --url",
    )


def _turns(
    urls: tuple[str, ...], min_speed: float, speeds: dict[str, float]
) -> Iterator[tuple[str, float]]:
    """Yield each address with the speed asked of it; then the slow ones again, fastest first."""
    for url in urls:
        yield url, min_speed
    for url in sorted(speeds, key=lambda url: -speeds[url]):
        yield url, min(min_speed, max(speeds[url] / 10, SLOWEST))


class _Part:
    """The bytes had so far and, beside them, the strong ETag that the first of them came with."""

    def __init__(self, path: Path, source: Source) -> None:
        self.path, self.source = path, source
        self.limit = source.size or MAX_ARCHIVE_BYTES
        self._etag = path.with_name(f"{path.name}.etag")

    def size(self) -> int:
        """Return how many bytes there are."""
        return self.path.stat().st_size if self.path.exists() else 0

    def may_be(self, size: int) -> bool:
        """Say whether the archive may have so many bytes."""
        return size == self.source.size if self.source.size else size <= self.limit

    def is_whole(self) -> bool:
        """Say whether the bytes are the archive."""
        size = self.size()
        return size > 0 and self.may_be(size) and file_sha256(self.path) == self.source.sha256

    def named(self, target: Path) -> Path:
        """Give the bytes another name, for good."""
        self.path.replace(target)
        self._etag.unlink(missing_ok=True)
        sync_folder(target.parent)
        return target

    def set_aside(self) -> str:
        """Make room for a new beginning; return what was wrong."""
        aside = self.named(self.path.with_suffix(".wrong"))
        return f"its SHA-256 is not {self.source.sha256}, set aside as {aside.name}"

    @contextlib.contextmanager
    def opened(self, start: int, url: str, etag: str) -> Iterator[IO[bytes]]:
        """Open the file to be written to from offset `start` on; it ends there.

        Raises MlpcliError where the disk or its permissions do not allow it.
        """
        try:
            with self.path.open("r+b" if start else "wb") as file:
                file.truncate(start)
                file.seek(start)
                if not start:
                    self._etag.unlink(missing_ok=True)
                    if re.fullmatch(STRONG_ETAG, etag):
                        self._etag.write_text(f"{_digest(url)}\n{etag}\n")
                yield file
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise MlpcliError(f"{self.path}: cannot be written: {error.strerror}") from None

    def etag(self, url: str) -> str | None:
        """Return the ETag to go on with at `url`, if the bytes began there.

        Other hosts have other ETags for the same bytes.
        """
        if not self._etag.exists():
            return None
        lines = self._etag.read_text(errors="replace").splitlines()
        known = len(lines) == 2 and lines[0] == _digest(url) and re.fullmatch(STRONG_ETAG, lines[1])
        return lines[1] if known else None


def _digest(url: str) -> str:
    """Stand in for an address, which may hold a password, on disk."""
    return hashlib.sha256(url.encode()).hexdigest()


class _Visit:
    """One turn of one host: request after request, until the part is whole or the host is left."""

    def __init__(
        self, url: str, part: _Part, floor: float, progress: Progress, notice: Notice
    ) -> None:
        self.url, self.host, self.part = url, _host(url), part
        self.progress, self.notice = progress, notice
        self.pace = _Pace(floor)
        self.went_on = False  # the last answer did, from where we stood

    def fetch(self) -> None:
        """Bring the part to the whole archive; raises _TransferError where the host fails."""
        failures, again = 0, True
        while True:
            before = self.part.size()
            try:
                self._transfer(before)
            except _TransferError as error:
                # A host that begins anew each time and breaks off each time does not get on.
                failures = 0 if self.went_on and self.part.size() > before else failures + 1
                if error.final or failures == ATTEMPTS:
                    raise
                pause = FIRST_PAUSE * 2 ** max(failures - 1, 0)
                self.notice(f"{self.host}: {error}; trying again in {pause:g} s")
                time.sleep(pause)
                continue
            if self.part.is_whole():
                return
            wrong = self.part.set_aside()
            if not (before and again):
                raise _TransferError(wrong)
            again = False  # the bytes it began with may be at fault: once more, from nothing
            self.notice(f"{self.host}: {wrong}; trying again from the start")

    def _transfer(self, asked: int) -> None:
        """Make one request, for what follows offset `asked`, and write what comes."""
        # Plain bytes, please: a host that packs the archive once more would break every byte count.
        headers = {"Accept-Encoding": "identity"}
        if asked:
            headers["Range"] = f"bytes={asked}-"
            if etag := self.part.etag(self.url):
                headers["If-Range"] = etag
        with _Request(self.url, headers) as request:
            response: requests.Response = self._next(request)
            start, total = self._where_it_starts(response, asked)
            if start is not None:
                self._write(request, start, total, response.headers.get("ETag", ""))
        if start is None:
            self._transfer(0)

    def _where_it_starts(
        self, response: requests.Response, asked: int
    ) -> tuple[int | None, int | None]:
        """Return the offset of the body's first byte, and the size of the whole, if told.

        No offset where the host cannot go on from where we stand, and is to be asked for the whole.
        A host may also send the whole although it was asked for less: that is taken.
        """
        status = response.status_code
        span = re.fullmatch(
            r"bytes ([0-9]{1,15})-[0-9]{1,15}/([0-9]{1,15})",
            response.headers.get("Content-Range", ""),
        )
        if status == requests.codes.partial_content and span:
            start, total = map(int, span.groups())
            if start == asked and self.part.may_be(total):
                return start, total
        if asked and status in (requests.codes.partial_content, 416):
            return None, None
        if status != requests.codes.ok:
            final = status < 500 and status not in (408, 429)
            phrase = http.client.responses.get(status, "")
            raise _TransferError(f"answered {status} {phrase}".rstrip(), final=final)
        if response.headers.get("Content-Type", "").lower().startswith("text/html"):
            raise _TransferError("answered with a web page", final=True)
        length = response.headers.get("Content-Length", "")
        offered = int(length) if re.fullmatch("[0-9]{1,15}", length) else None
        if offered is not None and not self.part.may_be(offered):
            expected = self.part.source.size or f"at most {self.part.limit}"
            raise _TransferError(f"offers {offered} bytes, expected {expected}", final=True)
        return 0, offered

    def _write(self, request: _Request, start: int, total: int | None, etag: str) -> None:
        """Write the body to the part, from offset `start` on."""
        self.went_on = start == self.part.size()
        total = total or self.part.source.size
        limit = total or self.part.limit
        if not (chunk := self._next(request)):  # what we have gives way to bytes, not to a promise
            raise _TransferError("sent nothing")
        with (
            self.part.opened(start, self.url, etag) as file,
            self.progress(self.host, start, total) as advance,
        ):
            while chunk:
                written = file.write(chunk[: limit - file.tell()])
                self.pace.count += written
                advance(written)
                # What a host may send after the last byte is not waited for.
                chunk = self._next(request) if file.tell() < limit else b""
            if file.tell() < (total or 0):
                raise _TransferError("broke off")

    def _next(self, request: _Request) -> Any:
        """Wait for what comes next, as long as the host's pace allows."""
        while True:
            self.pace.judge()
            try:
                item = request.items.get(timeout=self.pace.patience())
            except queue.Empty:
                if not self.pace.floor:
                    raise _TransferError("timed out") from None
            else:
                if isinstance(item, Exception):
                    raise _failure(item)
                return item


class _Pace:
    """The speed of a host over a whole turn, pauses and failures included, window by window."""

    def __init__(self, floor: float) -> None:
        self.floor = floor
        self.count = 0  # bytes in this window
        self._began, self._fastest = time.monotonic(), 0.0

    def judge(self) -> None:
        """Raise _SlowError at the end of a window in which too little came."""
        now = time.monotonic()
        if not self.floor or now < self._began + WINDOW:
            return
        speed = self.count / (now - self._began)
        self._fastest = max(self._fastest, speed)
        if speed < self.floor:
            raise _SlowError(speed, self.floor, self._fastest)
        self.count, self._began = 0, now

    def patience(self) -> float:
        """Return how many seconds to wait for the next bytes."""
        return max(0, self._began + WINDOW - time.monotonic()) if self.floor else PATIENCE


class _Request(threading.Thread):
    """A request in a thread of its own: a host that drips may hold this thread, never its caller.

    `items` gives the response, the chunks of its body as they were sent, and b"" at the end; or,
    at any point, the exception that ended it.
    """

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        super().__init__(daemon=True)
        self.items: queue.Queue[Any] = queue.Queue(16)
        self._url, self._headers = url, headers
        self._left = threading.Event()

    def __enter__(self) -> _Request:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the thread to itself: it ends with the next bytes of the host, or its timeout."""
        self._left.set()
        with contextlib.suppress(queue.Empty):
            while True:  # it may be waiting for a place in the queue
                self.items.get_nowait()

    def run(self) -> None:
        try:
            with (
                _Session() as session,
                session.get(
                    self._url, headers=self._headers, stream=True, timeout=PATIENCE
                ) as response,
            ):
                self.items.put(response)
                # read1 gives what is there; read, of an older urllib3, waits for a whole chunk.
                read = getattr(response.raw, "read1", response.raw.read)
                chunk = b"?"
                while chunk and not self._left.is_set():
                    chunk = read(CHUNK, decode_content=False)
                    self.items.put(chunk)
        except Exception as error:
            self.items.put(error)


class _Session(requests.Session):
    """Follows few redirects, and none that gives up a secure connection."""

    def __init__(self) -> None:
        super().__init__()
        self.max_redirects = MAX_REDIRECTS

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target is not None:
            resp.close()  # its own body is nothing to us, and may have no end
            scheme = urllib.parse.urlsplit(urllib.parse.urljoin(resp.url, target)).scheme
            if scheme != "https" and (scheme != "http" or resp.url.startswith("https:")):
                before = urllib.parse.urlsplit(resp.url).scheme
                raise _TransferError(f"redirects from {before} to {scheme}, refused", final=True)
        return target


# What ended a request, in a few words, and whether it would end the next one too. The first holds.
_FAILURES: tuple[tuple[type[BaseException], str, bool], ...] = (
    (requests.TooManyRedirects, f"redirects in a circle, or over {MAX_REDIRECTS} times", True),
    (ssl.SSLCertVerificationError, "certificate refused: {0.verify_message}", True),
    (ssl.SSLError, "no secure connection ({0.reason})", False),
    (TimeoutError, "timed out", False),
    (socket.gaierror, "its name is not known", False),
    (http.client.RemoteDisconnected, "hung up without an answer", False),
    (http.client.IncompleteRead, "broke off", False),
    (ConnectionResetError, "broke off", False),
    (http.client.HTTPException, "answered with something other than HTTP", False),
    (OSError, "no connection ({0.strerror})", False),
    (Exception, "failed ({0!r})", True),
)


def _failure(error: BaseException) -> _TransferError:
    """Make one of whatever ended a request."""
    if isinstance(error, _TransferError):
        return error
    if isinstance(error, ValueError):
        return _TransferError("an address that cannot be asked", final=True)
    while error.__context__ and not isinstance(error, http.client.IncompleteRead):
        error = error.__context__  # what requests and urllib3 wrapped
    if type(error) is OSError and error.errno is None:  # a CA bundle that is not there, a proxy
        return _TransferError(str(error), final=True)
    text, final = next((text, final) for kind, text, final in _FAILURES if isinstance(error, kind))
    return _TransferError(text.format(error), final=final)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MlpcliError(f"{path}: cannot be read: {error.strerror}") from None


def _host(url: str) -> str:
    """The host as it may be shown: without a user's name and password."""
    return urllib.parse.urlsplit(url).netloc.rpartition("@")[2]
