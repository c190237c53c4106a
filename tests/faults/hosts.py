"""Rows 11-15: hosts that fail, lie and drip, and downloads that arrive or say why they did not."""

from __future__ import annotations

import contextlib
import datetime
import functools
import gzip
import hashlib
import io
import os
import re
import ssl
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme
from conftest import write_shapes
from servers import (
    BODY,
    DIGEST,
    OTHER,
    Answer,
    Asked,
    Request,
    Sends,
    Server,
    endless_header,
    page,
    raw,
    redirect,
    reset,
    serving,
    silent,
    status,
)

from faults.rows import Case, row
from faults.shell import MLPCLI, call, errors, new_folder
from mlpcli.cifar10 import download as downloads
from mlpcli.cifar10.batches import PYTHON_FOLDER
from mlpcli.cifar10.download import download
from mlpcli.cifar10.mirrors import Source
from mlpcli.errors import DataError

SOME = 100_000
HALF = BODY[:SOME]
ARRIVED = {"a.tar.gz": BODY}
WRONG = rf"its SHA-256 is not {DIGEST}, moved to a\.tar\.gz\.wrong"
TOO_SLOW = r"too slow: \d+ kB/s, expected \d+ kB/s"
ENVIRONMENT = {k: v for k, v in os.environ.items() if not re.match("MLPCLI_|.*_CA_BUNDLE", k)}
LOOP = "redirect loop, or over 5 redirects"
FLOOR = 400_000  # bytes/s
SLOWER = Sends(speed=100_000)
SLOW = Sends(speed=200_000)


@functools.cache
def authority() -> trustme.CA:
    """Return the authority of the tests' own certificates."""
    return trustme.CA()


class Settings:
    """Short pauses, small limits and an authority of our own, while any thread is inside.

    They are the process's. Rows cannot set them: a stream of cases ends before its last are tried.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._stack = threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._set()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._stack.close()

    def _set(self) -> None:
        bundle = self._stack.enter_context(new_folder()) / "authorities.pem"
        authority().cert_pem.write_to_path(str(bundle))
        patch = self._stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
        short = {"WINDOW": 0.5, "FIRST_PAUSE": 0.02, "PATIENCE": 2, "MAX_ARCHIVE_BYTES": 400_000}
        for name, value in short.items():
            patch.setattr(downloads, name, value)


SETTINGS = Settings()


def tried(
    *hosts: Answer | tuple[Answer, ...],
    asked: tuple[list[Asked], ...] | None = None,
    problems: tuple[str, ...] = (),
    files: dict[str, bytes] | None = None,
    part: bytes = b"",
    floor: int = 0,
    size: int | None = len(BODY),
    order: str = "",
    least: int = 1,
) -> None:
    """Download from these hosts and see what each was asked, and what stands in the folder.

    `problems`, a pattern for each host, where the archive is unavailable. Where it is not known
    how far each one gets: `order` is a pattern for who is asked for what follows, as in ABA, and
    `least` how many bytes the first one gives.
    """
    with ExitStack() as stack:
        answers = [host if isinstance(host, tuple) else (host,) for host in hosts]
        servers = [stack.enter_context(serving(*several)) for several in answers]
        folder = stack.enter_context(new_folder())
        if part:
            (folder / "a.tar.gz.part").write_bytes(part)
        outcome(servers, folder, problems, floor, size)
        assert contents(folder) == (ARRIVED if files is None else files)
        if asked is not None:
            assert [server.asked for server in servers] == list(asked)
        if order:
            first, second = (server.asked for server in servers)
            turns = sorted(
                [(offset, "A") for offset in first] + [(offset, "B") for offset in second]
            )
            assert re.fullmatch(order, "".join(who for _, who in turns)), turns
            assert turns[0][0] == len(part) <= turns[1][0] - least


case = partial(partial, tried)


def outcome(
    servers: list[Server],
    folder: Path,
    problems: tuple[str, ...] = (),
    floor: int = 0,
    size: int | None = len(BODY),
) -> None:
    """Download, and see the one line that says why it failed, if it is to."""
    source = Source("a.tar.gz", DIGEST, size, tuple(server.url for server in servers))
    start, line = time.monotonic(), ""
    with SETTINGS:
        try:
            download(source, folder, nothing_shown, lambda text: None, floor).close()
        except DataError as error:
            line = str(error)
    assert time.monotonic() - start < 20
    reasons = (f"{re.escape(s.host)}: {text}" for s, text in zip(servers, problems, strict=False))
    expected = f"a.tar.gz: could not be fetched: {'; '.join(reasons)}" if problems else ""
    assert re.fullmatch(expected, line), line


def nothing_shown(*_: object) -> contextlib.nullcontext[Any]:
    return contextlib.nullcontext(lambda count: None)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def called(*arguments: object, code: int, line: str, **environment: str) -> None:
    """Call `mlpcli download` in a process of its own; see its exit code and the line of its error.

    `line` is a pattern; nothing shows a password, as in http://user:password@host.
    """
    command = [*MLPCLI, "download", *map(str, arguments)]
    done = call(command, Path.cwd(), env=ENVIRONMENT | environment)
    assert done.returncode == code, done.stderr
    said = errors(done.stderr)
    assert len(said) == 1, done.stderr
    assert re.search(line, said[0]), done.stderr
    assert not re.search("Traceback|password", done.stderr), done.stderr


@row(
    11,
    "resume of a download: 200 in answer to Range, 206 from another offset, changed ETag, 416, "
    "multipart, no Content-Length",
    cases=26,
)
def resumptions(seed: int) -> Iterator[Case]:
    in_lines = status(206, BODY[SOME:], Content_Range=f"lines {SOME}-299999/300000")
    shorter = status(206, BODY[SOME:-9], Content_Range=f"bytes {SOME}-299990/300000")
    changed = Sends(OTHER, etag='"v1"', cut=SOME)
    ignored = status(206, BODY[SOME:], Content_Range=f"bytes {SOME}-299999/300000", ETag='"v2"')
    mixed = {"a.tar.gz.wrong": OTHER[:SOME] + BODY[SOME:]}
    not_asked_for = {"problems": ("answered 206 Partial Content",), "files": {}, "asked": ([0],)}
    for name, answer in {
        "206 from another offset": span(7),
        "206 of another total": span(SOME, total="299999"),
        "206 of a total not told": span(SOME, total="*"),
        "206 of a total of 5000 digits": span(SOME, total="3" * 5000),
        "206 without Content-Range": status(206, BODY[SOME:]),
        "206 in another unit": in_lines,
        "multipart": multipart,
        "416": status(416),
    }.items():
        yield name, case((answer, Sends()), part=HALF, asked=([SOME, 0],))
    for name, etag, asked in (
        ("a strong ETag", '"v1"', (SOME, '"v1"')),
        ("a weak ETag", 'W/"v1"', SOME),
        ("an ETag in no quotes", "v1", SOME),
        ("an ETag of two lines", '"v\x85"', SOME),
        ("no ETag", "", SOME),
    ):
        hosts = (Sends(etag=etag, cut=SOME), Sends(etag=etag))
        yield name, case(hosts, asked=([0, asked],))
    yield from {
        "200 in answer to Range": case(Sends(ranges=False), part=HALF, asked=([SOME],)),
        "206 without Content-Length": case(Sends(length=False), part=HALF, asked=([SOME],)),
        "206 in chunks": case(Sends(chunked=True), part=HALF, asked=([SOME],)),
        "206 of less than was asked for": case(
            (shorter, Sends()), part=HALF, asked=([SOME, len(BODY) - 9],)
        ),
        "206 not asked for, from another offset": case(span(7), **not_asked_for),
        "206 not asked for, multipart": case(multipart, **not_asked_for),
        "a changed ETag": case((changed, Sends(etag='"v2"')), asked=([0, (SOME, '"v1"')],)),
        "a changed ETag, resumed": case(
            (changed, ignored, Sends()),
            asked=([0, (SOME, '"v1"'), 0],),
            files=ARRIVED | mixed,
        ),
        "a mirror knows no ETag of the other": case(
            (Sends(etag='"v1"', cut=SOME), status(404)),
            Sends(etag='"v2"'),
            asked=([0, (SOME, '"v1"')], [SOME]),
        ),
        "no Content-Length": case((Sends(length=False, cut=SOME), Sends()), asked=([0, SOME],)),
        "no Content-Length, of a size not known": case(
            Sends(length=False), asked=([0],), size=None
        ),
        "an ETag outlives the process": etag_of_another_process,
        "a corrupt note of an ETag": corrupt_etag,
    }.items()


def span(start: int, total: str = "300000") -> Answer:
    """Answer with what follows `start`, whatever was asked for."""
    return status(206, BODY[start:], Content_Range=f"bytes {start}-299999/{total}")


def multipart(request: Request) -> None:
    text = f"--x\r\nContent-Range: bytes {SOME}-299999/300000\r\n\r\n".encode()
    kind = "multipart/byteranges; boundary=x"
    status(206, text + BODY[SOME:] + b"\r\n--x--\r\n", Content_Type=kind)(request)


def etag_of_another_process() -> None:
    cut, refused = Sends(etag='"v1"', cut=SOME), status(404)
    with serving(cut, refused, Sends(etag='"v1"')) as server, new_folder() as folder:
        outcome([server], folder, problems=("answered 404 Not Found",))
        assert sorted(contents(folder)) == ["a.tar.gz.part", "a.tar.gz.part.etag"]
        outcome([server], folder)
        assert contents(folder) == ARRIVED
        assert server.asked == [0, (SOME, '"v1"'), (SOME, '"v1"')]


def corrupt_etag() -> None:
    """What the disk made of the note is sent to nobody."""
    for corrupt in (b"", b"\xff\x00", b'x\n"v1"\n', b'"v1"\n', b"\n" * 9):
        with serving(Sends()) as server, new_folder() as folder:
            (folder / "a.tar.gz.part").write_bytes(HALF)
            (folder / "a.tar.gz.part.etag").write_bytes(corrupt)
            outcome([server], folder)
            assert contents(folder) == ARRIVED
            assert server.asked == [SOME]


@row(
    12,
    "short or long body, cut chunk, reset, stall, one byte a second, captive portal page, 5xx",
    cases=83,
    few=30,
)
def failures(seed: int) -> Iterator[Case]:
    for start, name in ((0, "fresh"), (SOME, "resumed")):
        yield from ((f"{fault}, {name}", call) for fault, call in _faults(start))
    yield from _turns()
    yield from {
        "one byte now and then, everywhere": one_byte_everywhere,
        "nobody there": nobody_there,
        "a command that meets 503": partial(command_fails, status(503), "answered 503"),
        "a command that meets a portal": partial(command_fails, page(), "a web page"),
        "a command that meets another file": partial(command_fails, Sends(), "offers 300000 bytes"),
    }.items()


def _faults(start: int) -> Iterator[Case]:
    """Yield what a host does, where `start` bytes are there already."""
    resumed = partial(case, part=BODY[:start])
    kept = {"a.tar.gz.part": BODY[:start]} if start else {}
    for name, broken in {
        "a short body": Sends(cut=1000),
        "a short body without length": Sends(cut=1000, length=False),
        "a cut chunk": Sends(cut=1000, chunked=True),
        "a chunk of no size": Sends(cut=1000, chunked=True, junk=b"zz\r\n"),
        "a reset in the body": Sends(cut=1000, then="reset"),
    }.items():
        yield name, resumed((broken, Sends()), asked=([start, start + 1000],))
    for name, answer in {
        "a reset before the answer": reset,
        "an empty reply": raw(b""),
        "garbage instead of HTTP": raw(b"\x00\xff" * 500 + b"\r\n\r\n"),
        "half a header": raw(b"HTTP/1.1 200 OK\r\nContent-Le"),
        "an empty body": Sends(cut=0),
        **{str(code): status(code) for code in (408, 429, 500, 502, 503, 504)},
    }.items():
        yield f"{name}, twice", resumed((answer, answer, Sends()), asked=([start] * 3,))
    for name, answer, reason in (
        ("503", status(503), "answered 503 Service Unavailable"),
        ("an empty reply", raw(b""), "connection closed without an answer"),
        ("garbage", raw(b"?" * 999), "answered with something other than HTTP"),
        ("a reset", reset, "connection lost"),
    ):
        call = resumed(answer, problems=(reason,), files=kept, asked=([start] * 3,))
        yield f"{name}, for ever", call
    longer = Sends(BODY + b"x", ranges=False)
    for name, answer in {
        "404": status(404),
        "a captive portal": page(),
        "a captive portal without length": page(length=False),
        "too short a file": Sends(BODY[:-1], ranges=False),
        "too long a file": longer,
    }.items():
        yield f"{name}, then a mirror", resumed(answer, Sends(), asked=([start], [start]))
    offers = "offers 300001 bytes, expected 300000"
    call = resumed(longer, problems=(offers,), files=kept, asked=([start],))
    yield "too long a file, and no mirror", call
    junk = Sends(length=False, junk=b"junk" * 9999)
    yield "a long body without length", resumed(junk, asked=([start],))
    open_end = Sends(length=False, then="stall")
    yield "a complete body, and no end of it", resumed(open_end, asked=([start],))
    for name, answer, least in (
        ("a stall", Sends(cut=1000, then="stall"), 1000),
        ("a drip", Sends(speed=2000), 200),
        ("one byte now and then", Sends(speed=10), 1),
        ("endless header lines", endless_header, 0),
        ("a silent host", silent, 0),
    ):
        call = resumed(answer, Sends(), floor=FLOOR, order="AB", least=least)
        yield f"{name}, then a mirror", call
    yield (
        "endless header lines, for ever",
        resumed(
            endless_header,
            floor=FLOOR,
            problems=(TOO_SLOW,),
            files=kept,
            asked=([start] * 2,),
        ),
    )
    yield (
        "a stall, for ever",
        resumed(
            Sends(cut=1000, then="stall"),
            floor=FLOOR,
            problems=(TOO_SLOW,),
            files={"a.tar.gz.part": BODY[: start + 2000]},
            asked=([start, start + 1000],),
        ),
    )


def _turns() -> Iterator[Case]:
    """Yield what slow hosts do one after another."""
    stalls = Sends(cut=290_000, then="stall")
    anew = tuple(Sends(cut=1000 * n, ranges=False) for n in range(1, 9))
    with_floor = partial(case, floor=FLOOR)
    yield from {
        "all slow: the second is retried": with_floor(SLOWER, SLOW, order="ABB"),
        "all slow: the first is retried": with_floor(SLOW, SLOWER, order="ABA"),
        "all slow: the best is gone, the next best is retried": with_floor(
            (SLOW, status(404)), (SLOWER, Sends()), order="ABAB"
        ),
        "losing the connection all the time is slow too": with_floor(
            Sends(cut=1000), Sends(), order="A+B"
        ),
        "a fast one that stalled is retried": with_floor(
            (stalls, Sends()), status(404), floor=10_000, asked=([0, 290_000], [290_000])
        ),
        "restarting each time fails": case(anew, Sends(), asked=([0, 1000, 2000, 3000], [4000])),
        "no floor: a slow one will do": case(Sends(speed=600_000), Sends(), asked=([0], [])),
        "no floor: endless header lines": case(
            endless_header, problems=("timed out",), files={}, asked=([0, 0, 0],)
        ),
    }.items()


def one_byte_everywhere() -> None:
    """Neither host is waited for; what they gave is kept."""
    with serving(Sends(speed=10)) as a, serving(Sends(speed=10)) as b, new_folder() as folder:
        outcome([a, b], folder, (TOO_SLOW, TOO_SLOW), FLOOR)
        (had,) = contents(folder).values()
        assert 4 <= len(had) < 100
        assert BODY.startswith(had)


def nobody_there() -> None:
    with serving(Sends()) as server:
        pass
    with new_folder() as folder:
        outcome([server], folder, (r"no connection \(Connection refused\)",))
        assert contents(folder) == {}


def command_fails(answer: Answer, line: str) -> None:
    with serving(answer) as server, new_folder() as folder:
        url = server.url.replace("//", "//user:password@")
        called("--url", url, "--data-dir", folder, code=4, line=f"{server.host}: .*{line}")
        assert set(contents(folder)) == {"lock"}


@row(13, "Content-Encoding on a .tar.gz, gzip bomb", cases=9)
def encodings(seed: int) -> Iterator[Case]:
    gzipped = {"Content-Encoding": "gzip"}
    twice = gzip.compress(BODY)
    offers = f"offers {len(twice)} bytes, expected 300000"
    bomb = gzip.compress(bytes(100 * 2**20)) * 5  # half a GiB
    bombs = partial(case, Sends(bomb, headers=gzipped, length=False), problems=(WRONG,))
    many = ", ".join(["gzip"] * 7)
    for name in ("gzip", "deflate", "br, zstd", many):
        plain = Sends(headers={"Content-Encoding": name})
        yield f"plain bytes called {name}", case(plain, asked=([0],))
    packed = Sends(twice, headers=gzipped)
    yield from {
        "resumed": case(Sends(headers=gzipped), part=HALF, asked=([SOME],)),
        "packed once more": case(packed, files={}, problems=(offers,)),
        "packed once more, then a mirror": case(packed, Sends(), asked=([0], [0])),
        "a bomb": bombs(files={"a.tar.gz.wrong": bomb[:300_000]}),
        "a bomb of any size": bombs(size=None, files={"a.tar.gz.wrong": bomb[:400_000]}),
    }.items()


def certified(
    name: str = "127.0.0.1", ca: trustme.CA | None = None, **dates: Any
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (ca or authority()).issue_cert(name, **dates).configure_cert(context)
    return context


@row(14, "https → http redirect, redirect loop, bad certificate", cases=26)
def connections(seed: int) -> Iterator[Case]:
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    expired = certified(not_after=now - day)
    future = certified(not_before=now + day, not_after=now + 2 * day)
    steps = [*(redirect(f"/{i}") for i in range(5)), Sends()]
    refused = "certificate refused: "
    for target in ("file:///etc/passwd", "ftp://127.0.0.1/a", "data:text/plain,x"):
        name = target.split(":")[0]
        problem = f"redirects from https to {name}, refused"
        yield f"redirect to {name}", partial(secured, redirect(target), problem=problem)
    for name, tls in (("https", True), ("http", False)):
        loop = partial(secured, redirect("/a.tar.gz"), problem=LOOP, tls=tls, requests=6)
        yield f"loop on {name}", loop
        yield f"five steps on {name}", partial(secured, *steps, tls=tls)
    for name, context, reason in (
        ("of an unknown authority", certified(ca=trustme.CA()), "unable to get local.*"),
        ("that has expired", expired, "certificate has expired"),
        ("not valid yet", future, "certificate is not yet valid"),
        ("of another host", certified("example.org"), "IP address mismatch.*"),
    ):
        yield f"certificate {name}", partial(bad_certificate, context, refused + reason)
    yield from {
        "a good certificate": partial(secured, Sends()),
        "a good certificate, resumed": partial(secured, Sends(), part=HALF),
        "redirect on the host": partial(secured, redirect("/b"), Sends()),
        "redirects without end": partial(secured, *[redirect("/b", b"x" * 9999)] * 3, Sends()),
        "redirect to no address": partial(
            secured, redirect("https://[::1"), problem="invalid address"
        ),
        "from http to https": upgraded,
        "from https to http": partial(downgraded, "http"),
        "from https to HTTP": partial(downgraded, "HTTP"),
        "from https to http after two steps": partial(downgraded, "http", "/b", "/c"),
        "from http to https to http": downgraded_in_the_middle,
        "loop over two hosts": to_and_fro,
        "certificate behind a redirect": partial(behind_a_redirect, expired),
        "plain HTTP on the port of https": plain_on_the_secure_port,
        "a command without a bundle": partial(command_is_secure, refused),
        "a command whose bundle is missing": partial(
            command_is_secure, "_BUNDLE: /nowhere.pem: ", 2, REQUESTS_CA_BUNDLE="/nowhere.pem"
        ),
    }.items()


def secured(
    *answers: Answer, part: bytes = b"", problem: str = "", tls: bool = True, requests: int = 0
) -> None:
    """Download from a host with a good certificate; it is asked once for each answer."""
    with serving(*answers, tls=certified() if tls else None) as server, new_folder() as folder:
        if part:
            (folder / "a.tar.gz.part").write_bytes(part)
        outcome([server], folder, (problem,) if problem else ())
        assert contents(folder) == ({} if problem else ARRIVED)
        assert server.asked == [len(part)] * (requests or len(answers))


def upgraded() -> None:
    with (
        serving(Sends(), tls=certified()) as secure,
        serving(redirect(secure.url)) as server,
        new_folder() as folder,
    ):
        outcome([server], folder)
        assert contents(folder) == ARRIVED


def downgraded(scheme: str, *steps: str) -> None:
    """Nothing is asked where the connection is no longer secure, and the next mirror is."""
    with serving(Sends()) as insecure, new_folder() as folder:
        answers = [*map(redirect, steps), redirect(insecure.url.replace("http", scheme))]
        with serving(*answers, tls=certified()) as secure:
            outcome([secure], folder, ("redirects from https to http, refused",))
            assert contents(folder) == {}
            assert insecure.asked == []
            assert len(secure.asked) == len(answers)


def downgraded_in_the_middle() -> None:
    with (
        serving(Sends()) as insecure,
        serving(redirect(insecure.url), tls=certified()) as secure,
        serving(redirect(secure.url)) as first,
        serving(Sends()) as mirror,
        new_folder() as folder,
    ):
        outcome([first], folder, ("redirects from https to http, refused",))
        assert (contents(folder), insecure.asked) == ({}, [])
        outcome([first, mirror], folder)
        assert (contents(folder), insecure.asked) == (ARRIVED, [])


def to_and_fro() -> None:
    target: list[str] = []

    def to_the_second(request: Request) -> None:
        redirect(target[0])(request)

    with (
        serving(to_the_second) as first,
        serving(redirect(first.url)) as second,
        new_folder() as folder,
    ):
        target.append(second.url)
        outcome([first], folder, (LOOP,))
        assert len(first.asked) + len(second.asked) == 6


def bad_certificate(context: ssl.SSLContext, problem: str) -> None:
    """Nothing is sent to such a host, and it is not asked again."""
    with serving(Sends(), tls=context) as server, new_folder() as folder:
        outcome([server], folder, (problem,))
        assert contents(folder) == {}
        assert server.asked == []


def behind_a_redirect(context: ssl.SSLContext) -> None:
    with (
        serving(Sends(), tls=context) as bad,
        serving(redirect(bad.url), tls=certified()) as server,
        serving(Sends()) as mirror,
        new_folder() as folder,
    ):
        outcome([server], folder, ("certificate refused: certificate has expired",))
        assert (contents(folder), bad.asked, server.asked) == ({}, [], [0])
        outcome([server, mirror], folder)
        assert (contents(folder), bad.asked) == (ARRIVED, [])


def plain_on_the_secure_port() -> None:
    with serving(Sends()) as server, new_folder() as folder:
        secure = Server(server.url.replace("http:", "https:"))
        outcome([secure], folder, (r"no secure connection \(\w+\)",))
        assert contents(folder) == {}


def command_is_secure(line: str, code: int = 4, **environment: str) -> None:
    with serving(Sends(), tls=certified()) as server, new_folder() as folder:
        called("--url", server.url, "--data-dir", folder, code=code, line=line, **environment)
        assert server.asked == []
        assert set(contents(folder)) == {"lock"}


@row(15, "wrong digest", cases=13)
def digests(seed: int) -> Iterator[Case]:
    wrong = Sends(OTHER)
    other, corrupt, mixed, longer = (
        {"a.tar.gz.wrong": body}
        for body in (OTHER, OTHER[:SOME] + BODY[SOME:], HALF + OTHER[SOME:], OTHER + b"x")
    )
    refused = partial(case, problems=(WRONG,), files=other)
    yield from {
        "of a known size": refused(wrong, asked=([0],)),
        "of a size not known": refused(wrong, asked=([0],), size=None),
        "resumed": refused(wrong, part=HALF, asked=([SOME, 0],)),
        "resumed on a corrupt part": case(
            Sends(), part=OTHER[:SOME], asked=([SOME, 0],), files=ARRIVED | corrupt
        ),
        "then a mirror": case(wrong, Sends(), asked=([0], [0]), files=ARRIVED | other),
        "resumed, then a mirror": case(
            wrong, Sends(), part=HALF, asked=([SOME, 0], [0]), files=ARRIVED | other
        ),
        "everywhere": case(wrong, wrong, asked=([0], [0]), problems=(WRONG, WRONG), files=other),
        "half of each mirror": case(
            (Sends(cut=SOME), status(404)),
            (wrong, Sends()),
            asked=([0, SOME], [SOME, 0]),
            files=ARRIVED | mixed,
        ),
        "interrupted and resumed, twice": refused(
            (Sends(OTHER, cut=SOME), wrong) * 2, asked=([0, SOME, 0, SOME],)
        ),
        "a part that is too long": case(
            Sends(), part=OTHER + b"x", asked=([0],), files=ARRIVED | longer
        ),
        "a part that is complete and wrong": case(
            Sends(), part=OTHER, asked=([0],), files=ARRIVED | other
        ),
        "a command that downloads a data set": command_keeps_wrong_bytes,
        "a command that is given one": command_refuses,
    }.items()


def shapes_archive() -> bytes:
    """A complete data set in the layout of the official archive, of another digest."""
    with new_folder() as folder, io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as tar:
            tar.add(write_shapes(folder) / PYTHON_FOLDER, PYTHON_FOLDER)
        return file.getvalue()


def command_keeps_wrong_bytes() -> None:
    body = shapes_archive()
    with serving(Sends(body)) as server, new_folder() as folder:
        where = ("--url", server.url, "--data-dir", folder, "--sha256")
        called(*where, DIGEST, code=4, line=WRONG.replace(r"a\.tar", r"cifar-10-python\.tar"))
        name = "cifar-10-python.tar.gz"
        assert contents(folder) | {"lock": b""} == {f"{name}.wrong": body, "lock": b""}


def command_refuses() -> None:
    body = shapes_archive()
    with new_folder() as folder:
        archive = folder / "mine.tar.gz"
        archive.write_bytes(body)
        found = hashlib.sha256(body).hexdigest()
        data_dir = folder / "data"
        called("--from", archive, "--data-dir", data_dir, code=4, line=f"is {found}, expected")
        assert set(contents(data_dir)) == {"lock"}
        assert archive.read_bytes() == body
