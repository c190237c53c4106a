"""Downloads an archive from mirrors although hosts fail: resumed, retried, and verified.

The bytes go to `<archive>.part` in the folder of the archive, and are renamed only when their
SHA-256 is the expected one, whichever mirrors they came from. A host that is down, or slower than
asked for, is left for the next one, which resumes from the bytes there are.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import os
import re
import shlex
import stat
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing
from http import HTTPStatus
from http.client import responses
from pathlib import Path
from typing import IO, Any

from mlpcli.cifar10.http import Request, TransferError, require_usable_environment
from mlpcli.cifar10.mirrors import MAX_ARCHIVE_BYTES, Source
from mlpcli.errors import DataError, MlpcliError, without_secrets
from mlpcli.files import open_regular, reading, sync_folder, writing

ATTEMPTS = 3  # at one address, without a single new byte
FIRST_PAUSE = 1.0  # seconds before a retry; doubled after each attempt without a new byte
WINDOW = 10.0  # seconds over which a host's speed is averaged
SLOWEST = 1000.0  # bytes/s required of the fastest of slow hosts
PATIENCE = 30.0  # seconds for an answer, or for the next bytes, where no speed is required
STRONG_ETAG = '"[!#-~]*"'  # promises the same bytes; a weak one begins with W/
MAX_ETAG_BYTES = 2**12  # of the file that keeps one

# Called for each answer with its host, the offset of its first byte and the total size, if known;
# what the context manager yields is called with the number of bytes of each chunk.
Progress = Callable[[str, int, int | None], AbstractContextManager[Callable[[int], object]]]
Notice = Callable[[str], None]  # what went wrong and what is done about it


class _SlowError(TransferError):
    """A host is slower than required."""


def download(
    source: Source, folder: Path, progress: Progress, notice: Notice, min_speed: float
) -> io.BufferedReader:
    """Download `source` into `folder` and return it open; an earlier download is resumed.

    The file that is returned is the one whose digest was found, whatever stands at its path now.
    A host that gives less than `min_speed` bytes/s is left for the next one; if all are slow, they
    are retried, fastest first. With 0 any speed is accepted.
    Raises DataError where no address yields the archive with the expected digest, ConfigError where
    a variable for the network is unusable, and MlpcliError where a file cannot be written.
    """
    archive = folder / source.file_name
    if archive.exists():
        if file := _if_complete(archive, source):
            return file
        with writing(archive):
            old = archive.replace(_unused(archive.with_name(f"{archive.name}.old")))
        notice(f"{archive}: not the requested archive, moved to {old.name}")
    with closing(_Part(folder / f"{source.file_name}.part", source)) as part:
        return _fetched(part, archive, progress, notice, min_speed)


def _if_complete(archive: Path, source: Source) -> io.BufferedReader | None:
    """Open what stands at `archive`; return None if it is another one."""
    with reading(archive, MlpcliError):
        file = open_regular(archive)
    with contextlib.suppress(DataError):
        if digest(file, archive) == source.sha256:
            return file
    file.close()
    return None


def _unused(path: Path) -> Path:
    """Return `path`, or one with a number behind it where something stands already."""
    numbers = itertools.count(2)
    unused = path
    while os.path.lexists(unused):
        unused = path.with_name(f"{path.name}.{next(numbers)}")
    return unused


def _fetched(
    part: _Part, archive: Path, progress: Progress, notice: Notice, min_speed: float
) -> io.BufferedReader:
    """Complete `part` from its addresses and rename it to `archive`; return it open."""
    source = part.source
    if part.is_complete():  # the process ended before it was renamed
        return part.rename(archive)
    if part.size() >= part.limit:
        notice(f"{part.path}: {part.reject()}")
    require_usable_environment(source.urls)
    problems: dict[str, str] = {}
    speeds: dict[str, float] = {}  # of the hosts that were too slow
    for url, floor in _turns(source.urls, min_speed, speeds):
        if url in speeds:
            notice(f"{_host(url)}: retrying, as no faster host is available")
        visit = _Visit(url, part, floor, progress, notice)
        try:
            visit.fetch()
        except TransferError as error:
            if isinstance(error, _SlowError):
                speeds[url] = visit.pace.fastest
            problems[url] = f"{_host(url)}: {error}"
            notice(problems[url])
        else:
            return part.rename(archive)
    raise DataError(
        f"{source.file_name}: could not be fetched: {'; '.join(problems.values())}",
        hint=(),  # the same command resumes
    )


def _turns(
    urls: tuple[str, ...], min_speed: float, speeds: dict[str, float]
) -> Iterator[tuple[str, float]]:
    """Yield each address with the speed required of it; then the slow ones again, fastest first."""
    for url in urls:
        yield url, min_speed
    for url in sorted(speeds, key=lambda url: -speeds[url]):
        yield url, min(min_speed, max(speeds[url] / 10, SLOWEST))


class _Part:
    """The bytes so far and, in a file beside them, the strong ETag that came with the first one."""

    def __init__(self, path: Path, source: Source) -> None:
        """Open the file, if there is one; raises MlpcliError where it is not one of ours."""
        self.path, self.source = path, source
        self.limit = source.size or MAX_ARCHIVE_BYTES
        self._etag = path.with_name(f"{path.name}.etag")
        # Held open from its first byte on: what is hashed and renamed is what was written.
        self._descriptor = _open_own(path, os.O_RDWR) if os.path.lexists(path) else None

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def size(self) -> int:
        """Return how many bytes there are."""
        return 0 if self._descriptor is None else os.fstat(self._descriptor).st_size

    def may_be(self, size: int) -> bool:
        """Whether the archive may have this many bytes."""
        return size == self.source.size if self.source.size else size <= self.limit

    def is_complete(self) -> bool:
        """Whether the bytes are the archive."""
        size = self.size()
        if self._descriptor is None or not size or not self.may_be(size):
            return False
        with open(self._descriptor, "rb", closefd=False) as file:
            return digest(file, self.path) == self.source.sha256

    def rename(self, target: Path) -> io.BufferedReader:
        """Move the bytes to `target`, durably, and forget their ETag; return their file."""
        assert self._descriptor is not None
        with writing(target):
            self.path.replace(target)
            self._etag.unlink(missing_ok=True)
            sync_folder(target.parent)
        descriptor, self._descriptor = self._descriptor, None
        return os.fdopen(descriptor, "rb")

    def reject(self) -> str:
        """Move the bytes out of the way, so that the next begin at 0; return what was wrong."""
        wrong = self.path.with_suffix(".wrong")
        self.rename(wrong).close()
        return f"its SHA-256 is not {self.source.sha256}, moved to {wrong.name}"

    @contextlib.contextmanager
    def opened(self, start: int, url: str, etag: str) -> Iterator[IO[bytes]]:
        """Open the file, truncated to `start` bytes, to append to it.

        Raises MlpcliError where it cannot be written.
        """
        if self._descriptor is None:
            self._descriptor = _open_own(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        with writing(self.path), open(self._descriptor, "r+b", closefd=False) as file:
            file.truncate(start)
            file.seek(start)
            if not start:
                self._etag.unlink(missing_ok=True)
                if re.fullmatch(STRONG_ETAG, etag):
                    with self._etag.open("x") as kept:
                        kept.write(f"{_digest(url)} {etag}")
            yield file
            file.flush()
            os.fsync(file.fileno())

    def etag(self, url: str) -> str | None:
        """Return the ETag to resume with at `url`, if the first bytes came from there.

        Other hosts have other ETags for the same bytes.
        """
        try:
            with open_regular(self._etag) as file:
                text = file.read(MAX_ETAG_BYTES).decode(errors="replace")
        except OSError:
            return None
        address, _, etag = text.partition(" ")
        return etag if address == _digest(url) and re.fullmatch(STRONG_ETAG, etag) else None


def _open_own(path: Path, flags: int) -> int:
    """Open a regular file to write to it, and nothing that leads or belongs elsewhere.

    Raises MlpcliError for a link, a file with a second name, and what cannot be opened.
    """
    if path.is_symlink():
        raise MlpcliError(
            f"{path}: a link, expected a file of mlpcli's own", f"rm {shlex.quote(str(path))}"
        )
    with writing(path):
        safe = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path, flags | safe, 0o666)
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
        return descriptor
    os.close(descriptor)
    raise MlpcliError(
        f"{path}: not a regular file with one name, expected a file of mlpcli's own",
        f"rm {shlex.quote(str(path))}",
    )


def _digest(url: str) -> str:
    """Return what stands for an address on disk; the address itself may hold a password."""
    return hashlib.sha256(url.encode()).hexdigest()


class _Visit:
    """One turn of one host: request after request, until all bytes are there or the host fails."""

    def __init__(
        self, url: str, part: _Part, floor: float, progress: Progress, notice: Notice
    ) -> None:
        self.url, self.host, self.part = url, _host(url), part
        self.progress, self.notice = progress, notice
        self.pace = _Pace(floor)
        self.resumed = False  # whether the last answer continued the bytes that were there

    def fetch(self) -> None:
        """Complete the part; raises TransferError where the host fails."""
        failures, may_restart = 0, True
        while True:
            before = self.part.size()
            try:
                self._transfer(before)
            except TransferError as error:
                # A host that restarts each time and loses the connection each time fails.
                failures = 0 if self.resumed and self.part.size() > before else failures + 1
                if error.final or failures == ATTEMPTS:
                    raise
                pause = FIRST_PAUSE * 2 ** max(failures - 1, 0)
                self.notice(f"{self.host}: {error}; retrying in {pause:g} s")
                time.sleep(pause)
                continue
            if self.part.is_complete():
                return
            wrong = self.part.reject()
            if not (before and may_restart):
                raise TransferError(wrong)
            may_restart = False  # the bytes of before may be at fault: one attempt without them
            self.notice(f"{self.host}: {wrong}; retrying from the start")

    def _transfer(self, offset: int) -> None:
        """Make one request, for the bytes from `offset` on, and write what comes."""
        # A host that compressed the archive once more would break every byte count.
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if etag := self.part.etag(self.url):
                headers["If-Range"] = etag
        with Request(self.url, headers, PATIENCE) as request:
            status, answered = self.pace.next(request)
            span = self._span(status, answered, offset)
            if span:
                self._write(request, *span, answered.get("ETag", ""))
        if not span:
            self._transfer(0)

    def _span(
        self, status: int, headers: Mapping[str, str], offset: int
    ) -> tuple[int, int | None] | None:
        """Return the offset of the body's first byte, and the total size, if known.

        None where the host cannot resume from our offset, and must be asked for all bytes. It may
        also send all of them although it was asked for a range: they are accepted.
        """
        span = re.fullmatch(
            r"bytes ([0-9]{1,15})-[0-9]{1,15}/([0-9]{1,15})", headers.get("Content-Range", "")
        )
        if status == HTTPStatus.PARTIAL_CONTENT and span:
            start, total = map(int, span.groups())
            if start == offset and self.part.may_be(total):
                return start, total
        unusable = (HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
        if offset and status in unusable:
            return None
        if status != HTTPStatus.OK:
            temporary = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
            final = status < 500 and status not in temporary
            phrase = responses.get(status, "")
            who = "the proxy " if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED else ""
            raise TransferError(f"{who}answered {status} {phrase}".rstrip(), final=final)
        if headers.get("Content-Type", "").lower().startswith("text/html"):
            raise TransferError("answered with a web page", final=True)
        length = headers.get("Content-Length", "")
        offered = int(length) if re.fullmatch("[0-9]{1,15}", length) else None
        if offered is not None and not self.part.may_be(offered):
            expected = self.part.source.size or f"at most {self.part.limit}"
            raise TransferError(f"offers {offered} bytes, expected {expected}", final=True)
        return 0, offered

    def _write(self, request: Request, start: int, total: int | None, etag: str) -> None:
        """Write the body to the part, from offset `start` on."""
        self.resumed = start == self.part.size()
        total = total or self.part.source.size
        limit = total or self.part.limit
        if not (chunk := self.pace.next(request)):  # before the part is truncated to `start`
            raise TransferError("sent nothing")
        with (
            self.part.opened(start, self.url, etag) as file,
            self.progress(self.host, start, total) as advance,
        ):
            while chunk:
                written = file.write(chunk[: limit - file.tell()])
                self.pace.count += written
                advance(written)
                # What a host may send after the last byte is not waited for.
                chunk = self.pace.next(request) if file.tell() < limit else b""
            if file.tell() < (total or 0):
                raise TransferError("connection lost")


class _Pace:
    """The speed of a host over a turn, window by window; pauses and failures count as time."""

    def __init__(self, floor: float) -> None:
        self.floor = floor
        self.count = 0  # bytes in this window
        self.fastest = 0.0  # bytes/s of the best window
        self._began = time.monotonic()

    def next(self, request: Request) -> Any:
        """Return the request's next item, and wait for it as long as the pace allows.

        Raises _SlowError at the end of a window with too few bytes, else TransferError.
        """
        while True:
            now = time.monotonic()
            if self.floor and now >= self._began + WINDOW:
                speed = self.count / (now - self._began)
                self.fastest = max(self.fastest, speed)
                if speed < self.floor:
                    slow = f"{speed / 1000:.0f} kB/s, expected {self.floor / 1000:.0f} kB/s"
                    raise _SlowError(f"too slow: {slow}", final=True)
                self.count, self._began = 0, now
            try:
                return request.next(self._began + WINDOW - now if self.floor else PATIENCE)
            except TimeoutError:
                if not self.floor:
                    raise TransferError("timed out") from None


def digest(file: io.BufferedReader, path: Path) -> str:
    """Return the SHA-256 of an open file, in hexadecimal, from its first byte on.

    Raises DataError where it is larger than any archive, and MlpcliError if it cannot be read.
    """
    with reading(path, MlpcliError):
        if os.fstat(file.fileno()).st_size > MAX_ARCHIVE_BYTES:
            limit = MAX_ARCHIVE_BYTES // 2**20
            raise DataError(f"{path}: over {limit} MiB, too large for CIFAR-10")
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()


def _host(url: str) -> str:
    """Return the host, without a user's name and password."""
    return urllib.parse.urlsplit(without_secrets(url)).netloc.rpartition("@")[2]
