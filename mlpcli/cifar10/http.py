"""One HTTP request, bounded in time: no host makes the caller wait longer than it chose.

The body is passed on as it was sent, without decoding; no redirect gives up a secure connection.
"""

from __future__ import annotations

import contextlib
import http.client
import queue
import socket
import ssl
import threading
import urllib.parse
from typing import Any

import requests

CHUNK = 2**14
MAX_REDIRECTS = 5


class TransferError(Exception):
    """A request failed; `final` where another one to the same address would fail too."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


class Request(threading.Thread):
    """A GET request in a thread of its own: a slow host may block this thread, never its caller.

    `timeout`, in seconds, is for connecting and for each read.
    """

    def __init__(self, url: str, headers: dict[str, str], timeout: float) -> None:
        super().__init__(daemon=True)
        self._url, self._headers, self._timeout = url, headers, timeout
        self._items: queue.Queue[Any] = queue.Queue(16)
        self._left = threading.Event()

    def __enter__(self) -> Request:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the thread to itself: it ends with the next bytes of the host, or its timeout."""
        self._left.set()
        with contextlib.suppress(queue.Empty):
            while True:  # it may be waiting for a place in the queue
                self._items.get_nowait()

    def next(self, timeout: float) -> Any:
        """Return status code and headers, at later calls a chunk of the body, and b"" at its end.

        Raises TransferError, and TimeoutError where nothing came within `timeout` seconds.
        """
        try:
            item = self._items.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError from None
        if isinstance(item, Exception):
            raise _failure(item)
        return item

    def run(self) -> None:
        try:
            with (
                _Session() as session,
                session.get(
                    self._url, headers=self._headers, stream=True, timeout=self._timeout
                ) as response,
            ):
                self._items.put((response.status_code, response.headers))
                # read1 returns what has arrived; read, of an older urllib3, waits for a full chunk.
                read = getattr(response.raw, "read1", response.raw.read)
                chunk = b"?"
                while chunk and not self._left.is_set():
                    chunk = read(CHUNK, decode_content=False)
                    self._items.put(chunk)
        except Exception as error:
            self._items.put(error)


class _Session(requests.Session):
    """Follows few redirects, and none that gives up a secure connection."""

    def __init__(self) -> None:
        super().__init__()
        self.max_redirects = MAX_REDIRECTS

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target is not None:
            resp.close()  # the body of a redirect is not needed, and may have no end
            scheme = urllib.parse.urlsplit(urllib.parse.urljoin(resp.url, target)).scheme
            if scheme != "https" and (scheme != "http" or resp.url.startswith("https:")):
                before = urllib.parse.urlsplit(resp.url).scheme
                raise TransferError(f"redirects from {before} to {scheme}, refused", final=True)
        return target


# What ended a request, and whether it would end the next one too. The first that matches is used.
_FAILURES: tuple[tuple[type[BaseException], str, bool], ...] = (
    (requests.TooManyRedirects, f"redirect loop, or over {MAX_REDIRECTS} redirects", True),
    (ssl.SSLCertVerificationError, "certificate refused: {0.verify_message}", True),
    (ssl.SSLError, "no secure connection ({0.reason})", False),
    (TimeoutError, "timed out", False),
    (socket.gaierror, "host name not found", False),
    (http.client.RemoteDisconnected, "connection closed without an answer", False),
    (http.client.IncompleteRead, "connection lost", False),
    (ConnectionResetError, "connection lost", False),
    (http.client.HTTPException, "answered with something other than HTTP", False),
    (OSError, "no connection ({0.strerror})", False),
    (Exception, "failed ({0!r})", True),
)


def _failure(error: BaseException) -> TransferError:
    """Return what ended a request as a TransferError."""
    if isinstance(error, TransferError):
        return error
    if isinstance(error, ValueError):
        return TransferError("invalid address", final=True)
    while error.__context__ and not isinstance(error, http.client.IncompleteRead):
        error = error.__context__  # what requests and urllib3 wrapped
    if type(error) is OSError and error.errno is None:  # a missing CA bundle, or a proxy's error
        return TransferError(str(error), final=True)
    text, final = next((text, final) for kind, text, final in _FAILURES if isinstance(error, kind))
    return TransferError(text.format(error), final=final)
