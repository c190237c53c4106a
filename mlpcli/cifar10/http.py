"""One HTTP request, bounded in time: no host makes the caller wait longer than it chose.

The body is passed on as it was sent, without decoding; no redirect gives up a secure connection.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import queue
import re
import socket
import ssl
import threading
import urllib.parse
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import requests

from mlpcli.errors import ConfigError, MlpcliError, in_one_line, printable

CHUNK = 2**14
MAX_REDIRECTS = 5
MAX_REASON = 200  # characters; a part of it may come from a host or a proxy
SOCKS = ("socks4", "socks4a", "socks5", "socks5h")
BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # as requests reads them


class TransferError(Exception):
    """A request failed; `final` where another one to the same address would fail too."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(printable(reason[:MAX_REASON]))
        self.final = final


def require_usable_environment(urls: tuple[str, ...]) -> None:
    """Raise ConfigError where a variable would make requests fail, whatever the host.

    MlpcliError where a proxy needs a package that is not installed.
    """
    for url in urls:
        _proxy(url)
    name = next((name for name in BUNDLES if os.environ.get(name)), None)
    if name and any(url.startswith("https:") for url in urls):
        path = os.environ[name]
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(**{"capath" if Path(path).is_dir() else "cafile": path})
        except OSError as error:
            why = (
                "not a file of certificates" if isinstance(error, ssl.SSLError) else error.strerror
            )
            raise ConfigError(f"{name}: {path}: {why}") from None


def _proxy(url: str) -> str:
    """Return the host of the proxy that the environment has for an address; "" if it has none.

    Raises as `require_usable_environment` does.
    """
    chosen = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url))
    if not chosen:
        return ""
    named = (
        key for key, value in os.environ.items() if value == chosen and key[-5:].lower() == "proxy"
    )
    name = next(named, "the system's proxy")
    try:
        parts = urllib.parse.urlsplit(chosen if "://" in chosen else f"http://{chosen}")
        valid = bool(parts.hostname) and parts.port != 0 and chosen.isprintable()
    except ValueError:
        valid = False
    if not valid or parts.scheme not in ("http", "https", *SOCKS):
        raise ConfigError(f"{name}: not a proxy's address, expected one as in http://host:3128")
    if parts.scheme in SOCKS and find_spec("socks") is None:
        raise MlpcliError(
            f"{name}: a {parts.scheme} proxy needs PySocks, which is not installed",
            hint="pip install PySocks",
        )
    return parts.netloc.rpartition("@")[2]


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
            raise _failure(item, self._url)
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
# Certificates of an authority that is not known; a company's own, for example.
UNKNOWN_AUTHORITY = (18, 19, 20, 21)  # as OpenSSL numbers them


def _failure(error: BaseException, url: str) -> TransferError:
    """Return what ended a request to this address as a TransferError."""
    if isinstance(error, TransferError):
        return error
    if isinstance(error, ValueError):
        return TransferError("invalid address", final=True)
    by_proxy = isinstance(error, requests.exceptions.ProxyError)
    while error.__context__ and not isinstance(error, http.client.IncompleteRead):
        error = error.__context__  # what requests and urllib3 wrapped
    if by_proxy:
        text, final = _of_proxy(error)
        return TransferError(f"the proxy {_proxy(url)}: {text}", final=final)
    text, final = _described(error)
    if proxy := _proxy(url):
        text += f", through the proxy {proxy}"
    if getattr(error, "verify_code", None) in UNKNOWN_AUTHORITY:
        text += f" ({BUNDLES[0]} names a file of other authorities)"
    return TransferError(text, final=final)


def _of_proxy(error: BaseException) -> tuple[str, bool]:
    """Return what a proxy answered or failed with, in words of our own."""
    if answer := re.search(r"Tunnel connection failed: (\d{3})", str(error)):
        status = int(answer[1])
        return f"answered {status} {http.client.responses.get(status, '')}".rstrip(), status < 500
    return _described(error)


def _described(error: BaseException) -> tuple[str, bool]:
    if type(error) is OSError and error.errno is None:  # of requests: a missing CA bundle
        return in_one_line(error), True
    text, final = next((text, final) for kind, text, final in _FAILURES if isinstance(error, kind))
    return text.format(error), final
