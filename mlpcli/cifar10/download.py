"""Fetches an archive over HTTP: resumed where it broke off, retried, and kept only if whole.

The bytes go to `<archive>.part` in the folder where the archive will stand; it takes its name only
when its SHA-256 is the expected one. The digest decides, whichever mirrors the bytes came from.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

import requests

from mlpcli.cifar10.sources import MAX_ARCHIVE_BYTES, Source
from mlpcli.errors import DataError, MlpcliError
from mlpcli.files import sync_folder

CHUNK = 2**16
TIMEOUT = (10, 30)  # seconds: to connect, and between two reads
ATTEMPTS = 4  # at one address, without a single new byte
FIRST_PAUSE = 1.0  # seconds before the second attempt; doubled before each further one

Progress = Callable[[str, int, int | None], None]  # host, bytes so far, bytes in all
Notice = Callable[[str], None]  # what went wrong and what is done about it


class _TransferError(Exception):
    """An attempt failed; `final` where another one at the same address would fail too."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


def download(source: Source, folder: Path, progress: Progress, notice: Notice) -> Path:
    """Fetch `source` into `folder` and return its path; what a broken-off call had is kept.

    Raises DataError where no address yields the archive with the expected digest.
    """
    archive = folder / source.file_name
    if archive.exists():
        if file_sha256(archive) == source.sha256:
            return archive
        aside = archive.with_name(f"{archive.name}.old")
        archive.replace(aside)
        notice(f"{archive}: another archive than was asked for, set aside as {aside.name}")
    part = folder / f"{source.file_name}.part"
    problems = []
    for url in source.urls:
        try:
            _fetch(url, part, source, progress, notice)
        except _TransferError as error:
            problems.append(f"{_host(url)}: {error}")
            notice(problems[-1])
            continue
        part.replace(archive)
        sync_folder(folder)
        return archive
    raise DataError(
        f"{source.file_name}: could not be fetched: {'; '.join(problems)}",
        hint="run it again to go on where it broke off, or name a mirror with --url",
    )


def _fetch(url: str, part: Path, source: Source, progress: Progress, notice: Notice) -> None:
    """Bring `part` to the whole of `source` from one address, however many attempts it takes."""
    failures = 0
    while True:
        before = _size(part)
        if before and file_sha256(part) == source.sha256:  # it only lacked its name
            return
        try:
            _transfer(url, part, source, progress)
        except _TransferError as error:
            failures = 1 if _size(part) > before else failures + 1
            if error.final or failures == ATTEMPTS:
                raise
            pause = FIRST_PAUSE * 2 ** (failures - 1)
            notice(f"{_host(url)}: {error}; trying again in {pause:g} s")
            time.sleep(pause)
            continue
        if file_sha256(part) == source.sha256:
            return
        wrong = part.with_suffix(".wrong")
        part.replace(wrong)
        if not before:  # else the bytes it began with may be at fault: once more, from nothing
            raise _TransferError(f"its SHA-256 is not {source.sha256} (kept as {wrong.name})")


def _transfer(url: str, part: Path, source: Source, progress: Progress) -> None:
    """Make one request, for what `part` still lacks, and append what comes."""
    start, limit = _size(part), source.size or MAX_ARCHIVE_BYTES
    if start and start == source.size:
        return
    # Plain bytes, please: a host that packs the archive once more would break every byte count.
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            start, total = _where_it_starts(response, start, part)
            if total is not None and source.size is not None and total != source.size:
                raise _TransferError(f"offers {total} bytes, expected {source.size}", final=True)
            with part.open("r+b" if start else "wb") as file:
                file.truncate(start)
                file.seek(start)
                for chunk in _chunks(response):
                    if file.tell() + len(chunk) > limit:
                        raise _TransferError(f"sent more than {limit} bytes", final=True)
                    file.write(chunk)
                    progress(_host(url), file.tell(), total or source.size)
                file.flush()
                os.fsync(file.fileno())
            if _size(part) < (total or source.size or 0):
                raise _TransferError("broke off")
    except requests.RequestException as error:
        final = isinstance(
            error, ValueError | requests.exceptions.SSLError
        )  # of these, the address
        raise _TransferError(_reason(error), final=final) from None
    except OSError as error:
        if error.errno is None:  # requests' own, as for a CA bundle that is not there
            raise _TransferError(str(error), final=True) from None
        raise MlpcliError(f"{part}: cannot be written: {error.strerror}") from None


def _where_it_starts(response: requests.Response, asked: int, part: Path) -> tuple[int, int | None]:
    """Return the offset of the body's first byte, and the size of the whole, if told.

    A host that cannot go on where we stand sends the whole from the start: that is taken. Where it
    goes on from elsewhere, what we have is no beginning of what it has, and is dropped.
    """
    if response.status_code == requests.codes.ok:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    if response.status_code == requests.codes.partial_content:
        span = response.headers.get("Content-Range", "")
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", span)
        if match and int(match[1]) == asked:
            return asked, int(match[2])
        part.unlink(missing_ok=True)
        raise _TransferError(f"answered with the wrong range {span!r}")
    if response.status_code == requests.codes.requested_range_not_satisfiable:
        part.unlink(missing_ok=True)
    final = response.status_code < 500 and response.status_code not in (408, 416, 429)
    raise _TransferError(f"answered {response.status_code} {response.reason}", final=final)


def _chunks(response: requests.Response) -> Iterator[bytes]:
    """Yield the body as it was sent, undecoded."""
    try:
        while chunk := response.raw.read(CHUNK, decode_content=False):
            yield chunk
    except Exception as error:  # urllib3 raises its own kinds here, not those of requests
        raise _TransferError("timed out" if "timed out" in str(error) else "broke off") from None


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MlpcliError(f"{path}: cannot be read: {error.strerror}") from None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _host(url: str) -> str:
    """The host as it may be shown: without a user's name and password."""
    return urllib.parse.urlsplit(url).netloc.rpartition("@")[2]


def _reason(error: Exception) -> str:
    """Say shortly what a network error is."""
    if isinstance(error, requests.Timeout):
        return "timed out"
    if isinstance(error, requests.exceptions.SSLError):
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return "its certificate is not valid"
        return "no secure connection"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return f"not to be asked ({type(error).__name__})"
