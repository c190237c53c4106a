"""HTTP servers on 127.0.0.1 that misbehave on purpose."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

import numpy as np

BODY = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(len(BODY))  # of the same size
DIGEST = hashlib.sha256(BODY).hexdigest()

Asked = int | tuple[int, str]


class Request(BaseHTTPRequestHandler):
    """A request that is to be answered; `closing` is set when its server is about to end."""

    protocol_version = "HTTP/1.1"
    closing: threading.Event

    def asked(self) -> Asked:
        """Return the first byte that is asked for, with the If-Range if there is one."""
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        condition = self.headers.get("If-Range")
        return (start, condition) if condition else start

    def log_message(self, *_: object) -> None:
        pass


Answer = Callable[[Request], None]


@dataclass
class Server:
    """Where a server listens, and what it was asked so far."""

    url: str
    asked: list[Asked] = field(default_factory=list)

    @property
    def host(self) -> str:
        return self.url.split("/")[2]


@contextlib.contextmanager
def serving(*answers: Answer, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Answer each request with the next of `answers`, the last one for ever."""
    left = list(answers)
    ending = threading.Event()

    class Handler(Request):
        closing = ending

        def do_GET(self) -> None:
            server.asked.append(self.asked())
            answer = left.pop(0) if len(left) > 1 else left[0]
            self.close_connection = True
            with contextlib.suppress(OSError):  # whoever asked has left
                answer(self)

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass  # a handshake that failed, as it was meant to

    with Quiet(("127.0.0.1", 0), Handler) as http:
        if tls:
            http.socket = tls.wrap_socket(
                http.socket, server_side=True, do_handshake_on_connect=False
            )
        scheme = "https" if tls else "http"
        server = Server(f"{scheme}://127.0.0.1:{http.server_port}/a.tar.gz")
        thread = threading.Thread(target=http.serve_forever, args=[0.01])
        thread.start()
        try:
            yield server
        finally:
            ending.set()
            http.shutdown()
            thread.join()


@dataclass(frozen=True)
class Sends:
    """Serves ranges of `body` as they are asked for, with faults to choose.

    After `cut` bytes it closes the connection, or resets it, or sends no more.
    """

    body: bytes = BODY
    cut: int | None = None
    then: Literal["close", "reset", "stall"] = "close"
    ranges: bool = True
    length: bool = True
    chunked: bool = False
    speed: float | None = None  # bytes/s, in ten pieces a second
    junk: bytes = b""  # after the last byte, in no chunk
    etag: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def __call__(self, request: Request) -> None:
        asked = request.asked()
        start, condition = asked if isinstance(asked, tuple) else (asked, self.etag)
        if not self.ranges or condition != self.etag:
            start = 0
        rest = self.body[start:]
        request.send_response(206 if start else 200)
        headers = dict(self.headers)
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(self.body) - 1}/{len(self.body)}"
        if self.etag:
            headers["ETag"] = self.etag
        if self.chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif self.length:
            headers["Content-Length"] = str(len(rest))
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        self._send(request, rest if self.cut is None else rest[: self.cut])
        request.wfile.write(self.junk)
        if self.cut is None and self.chunked:
            request.wfile.write(b"0\r\n\r\n")
        if self.then == "stall":
            request.closing.wait()
        elif self.then == "reset":
            time.sleep(0.1)  # what was sent is to arrive
            reset(request)

    def _send(self, request: Request, body: bytes) -> None:
        size = int(self.speed / 10) or 1 if self.speed else 2**14
        for i in range(0, len(body), size):
            piece = body[i : i + size]
            frame = b"%x\r\n%s\r\n" % (len(piece), piece) if self.chunked else piece
            request.wfile.write(frame)
            if self.speed and request.closing.wait(len(piece) / self.speed):
                return


def status(code: int, body: bytes = b"", **headers: str) -> Answer:
    """Answer with this and nothing else, whatever is asked; `Content_Range` is a header's name."""

    def answer(request: Request) -> None:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return answer


def redirect(location: str, body: bytes = b"") -> Answer:
    """Send elsewhere; `body`, if any, is sent for ever."""

    def answer(request: Request) -> None:
        request.send_response(302)
        request.send_header("Location", location)
        if not body:
            request.send_header("Content-Length", "0")
        request.end_headers()
        while body and not request.closing.is_set():
            request.wfile.write(body)

    return answer


def page(*, length: bool = True) -> Answer:
    """Answer whatever is asked with the page of a captive portal."""
    body = b"<html>Please log in</html>"
    html = {"Content-Type": "Text/HTML; charset=utf-8"}
    return Sends(body, ranges=False, length=length, headers=html)


def raw(data: bytes) -> Answer:
    """Answer with bytes that are no HTTP, or with none."""
    return lambda request: request.wfile.write(data) and None


def reset(request: Request) -> None:
    """Close the connection so that the other side sees a reset."""
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # The descriptor has to be closed for it, and nobody else may hold it.
    request.rfile.close()
    request.wfile.close()
    request.connection.close()


def endless_header(request: Request) -> None:
    """Send header lines a byte at a time, and never the end of them."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
    while not request.closing.wait(0.05):
        request.wfile.write(b"x")


def silent(request: Request) -> None:
    """Send nothing, and keep the connection open."""
    request.closing.wait()
