"""Rows 21-25: data sets that are exchanged, misplaced or planted, and addresses with passwords."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from conftest import unpack, untrained, write_shapes
from servers import BODY, DIGEST, OTHER, Sends, serving

from faults import archives
from faults.rows import Case, SkippedRowError, row
from faults.shell import MLPCLI, call, errors, new_folder, once, one_thread
from mlpcli.cifar10 import archive, batches, install, synthetic
from mlpcli.cifar10.batches import PYTHON_FOLDER
from mlpcli.cifar10.download import download
from mlpcli.cifar10.mirrors import Source
from mlpcli.config.settings import Cifar10Config
from mlpcli.data.dataset import load_test, load_train
from mlpcli.errors import DataError, MlpcliError
from mlpcli.files import locked
from mlpcli.runs import checkpoint

ROWS = {"old": 2, "new": 3}  # images per batch of two small data sets
OLD, NEW = 5 * ROWS["old"], 5 * ROWS["new"]


@once
def packed(which: str) -> bytes:
    """Return an archive of one of the two data sets."""
    with new_folder() as folder:
        write_shapes(folder, ROWS[which])
        made = shutil.make_archive(str(folder / "a"), "gztar", folder, PYTHON_FOLDER)
        return Path(made).read_bytes()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def exchange(path: Path) -> list[str]:
    """Put the old data set into `path`; return the command that replaces it by the new one."""
    if not (path / "data").exists():
        write_shapes(path / "data", ROWS["old"])
    (path / "new.tar.gz").write_bytes(packed("new"))
    options = ("--from", "new.tar.gz", "--sha256", sha256(packed("new")), "--data-dir", "data")
    return [*MLPCLI, "download", "--force", *options]


# Row 21: an exchange that is killed.

EXCHANGING = "mkdir,rename,unlink,unlinkat,rmdir,fsync"


def exchanged(path: Path, *inject: str) -> tuple[int, list[tuple[str, int]]]:
    """Exchange under strace; return how it ended, and its calls as names with their numbers."""
    watch = ["strace", "-o", "calls.log", "-e", f"trace={EXCHANGING}", *inject]
    done = call([*watch, *exchange(path)], path, env=one_thread())
    counts, calls = Counter[str](), []
    for line in (path / "calls.log").read_text().splitlines():
        if (name := line.partition("(")[0]) in EXCHANGING.split(","):
            counts[name] += 1
            calls.append((name, counts[name]))
    return done.returncode, calls


@row(21, "kill -9 while a data set is replaced, then read", cases=20, few=4, whole=True)
def killed_exchanges(seed: int) -> Iterator[Case]:
    if not shutil.which("strace"):
        raise SkippedRowError("strace is not installed")
    with new_folder() as path:
        ended, calls = exchanged(path)
    assert ended == 0
    # The two renames, and what surrounds them, come first.
    rest = [each for each in calls if each[0] != "rename"]
    random.Random(seed).shuffle(rest)
    renames = [each for each in calls if each[0] == "rename"]
    for name, ordinal in (*reversed(renames), *rest):
        yield f"{name} {ordinal}", partial(_killed_at, name, ordinal)


def _killed_at(name: str, ordinal: int) -> None:
    with new_folder() as path:
        ended, _ = exchanged(path, "-e", f"inject={name}:signal=KILL:when={ordinal}")
        assert ended == -signal.SIGKILL
        data = Cifar10Config(dir=str(path / "data"))
        train, test = load_train(data), load_test(data)
        assert (len(train.splits["train"]), len(test.splits["test"])) in ((OLD, 2), (NEW, 3))
        assert (path / "data" / PYTHON_FOLDER).is_dir()
        assert call(exchange(path), path).returncode == 0
        assert install.verify(path / "data") == (NEW, 3)
        names = {each.name for each in (path / "data").iterdir()}
        assert names <= {PYTHON_FOLDER, "lock"}, names


# Row 22: what somebody else has put where a download writes.


def link(target: Path, path: Path) -> None:
    path.symlink_to(target)


def hard_link(target: Path, path: Path) -> None:
    path.hardlink_to(target)


def dangling(target: Path, path: Path) -> None:
    path.symlink_to(target.with_name("made"))


def link_to_folder(target: Path, path: Path) -> None:
    path.symlink_to(target.parent)


def pipe(target: Path, path: Path) -> None:
    os.mkfifo(path)


def device(target: Path, path: Path) -> None:
    path.symlink_to("/dev/zero")


PLANTED = (link, hard_link, dangling, link_to_folder, pipe, device)
NAMES = ("a.tar.gz.part", "a.tar.gz.part.etag", "a.tar.gz.wrong", "a.tar.gz.old", batches.STAGING)


@row(22, "links, pipes and devices where a download writes", cases=28, few=8, whole=True)
def planted(seed: int) -> Iterator[Case]:
    for name in NAMES:
        for plant in PLANTED:
            if not (name == batches.STAGING and plant is not link_to_folder):
                yield f"{plant.__name__} {name}", partial(_written_past, plant, name)
    yield "link to another folder in the archive's place", partial(_replaced_link, "a.tar.gz")
    yield "link to another folder in the data set's place", partial(_replaced_link, PYTHON_FOLDER)
    yield "a batch that is there while one is unpacked", _no_batch_is_written_over


def _written_past(plant: Callable[[Path, Path], None], name: str) -> None:
    with new_folder() as path:
        victims, data_dir = path / "victims", path / "data"
        victims.mkdir()
        data_dir.mkdir()
        (victims / "victim").write_bytes(b"precious")
        plant(victims / "victim", data_dir / name)
        good = packed("new")
        with serving(Sends(good, etag='"1"')) as server:
            source = Source("a.tar.gz", sha256(good), len(good), (server.url,))
            try:
                with download(source, data_dir, _nothing_shown, lambda text: None, 0) as file:
                    install.unpack(file, data_dir / "a.tar.gz", data_dir, source.sha256)
            except MlpcliError as error:
                assert name.startswith("a.tar.gz.part"), error
                assert str(error).startswith(f"{data_dir / name}: "), error
            else:
                assert install.verify(data_dir) == (NEW, 3)
        assert {each.name for each in victims.iterdir()} == {"victim"}
        assert (victims / "victim").read_bytes() == b"precious"


def _replaced_link(name: str) -> None:
    """What the user has elsewhere, and links to, stays as it is."""
    with new_folder() as path:
        data_dir, elsewhere = path / "data", path / "elsewhere"
        data_dir.mkdir()
        if name == PYTHON_FOLDER:
            write_shapes(elsewhere, ROWS["old"])
            target = elsewhere / PYTHON_FOLDER
        else:
            elsewhere.mkdir()
            target = elsewhere / name
            target.write_bytes(OTHER)
        (data_dir / name).symlink_to(target)
        before = contents(elsewhere)
        good = packed("new")
        with serving(Sends(good)) as server:
            source = Source("a.tar.gz", sha256(good), len(good), (server.url,))
            with download(source, data_dir, _nothing_shown, lambda text: None, 0) as file:
                install.unpack(file, data_dir / "a.tar.gz", data_dir, source.sha256)
        assert install.verify(data_dir) == (NEW, 3)
        assert contents(elsewhere) == before


def _no_batch_is_written_over() -> None:
    with new_folder() as path:
        (path / "a.tar.gz").write_bytes(packed("new"))
        (path / "victim").write_bytes(b"precious")
        (path / "data_batch_3").symlink_to(path / "victim")
        with (path / "a.tar.gz").open("rb") as file, contextlib.suppress(FileExistsError):
            archive.extract(file, path / "a.tar.gz", path)
            raise AssertionError("was written")
        assert (path / "victim").read_bytes() == b"precious"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(each): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def _nothing_shown(*_: object) -> contextlib.nullcontext[Callable[[int], object]]:
    return contextlib.nullcontext(lambda count: None)


# Row 23: what must not be shown.

SECRETS = {
    "user and password": "http://bob:S3cret@127.0.0.1:1/a.tar.gz",
    "user alone": "http://S3cret@127.0.0.1:1/a.tar.gz",
    "slash in the password": "http://bob:pa/S3cret@127.0.0.1:1/a.tar.gz",
    "number and slash in the password": "http://bob:1/S3cret@127.0.0.1:1/a.tar.gz",
    "@ in the password": "http://bob:pa@S3cret@127.0.0.1:1/a.tar.gz",
    "@ in the user": "http://bob@example.org:S3cret@127.0.0.1:1/a.tar.gz",
    "? in the password": "http://bob:pa?S3cret@127.0.0.1:1/a.tar.gz",
    "# in the password": "http://bob:pa#S3cret@127.0.0.1:1/a.tar.gz",
    "space in the password": "http://bob:pa S3cret@127.0.0.1:1/a.tar.gz",
    "escapes in the password": "http://bob:\x1b[31mS3cret@127.0.0.1:1/a.tar.gz",
    "query": "http://127.0.0.1:1/a.tar.gz?token=S3cret",
    "query and fragment": "http://127.0.0.1:1/a.tar.gz?x#S3cret",
    "no scheme": "bob:S3cret@127.0.0.1:1/a.tar.gz",
    "another scheme": "ftp://bob:S3cret@127.0.0.1:1/a.tar.gz",
    "one slash": "http:/bob:S3cret@127.0.0.1:1/a.tar.gz",
    "wrong port": "http://bob:S3cret@127.0.0.1:port/a.tar.gz",
    "half of a bracket": "http://bob:S3cret@[127.0.0.1:1/a.tar.gz",
}
PROXIES = {
    "of a proxy": ("https_proxy", "http://bob:S3cret@127.0.0.1:1"),
    "of a proxy for all": ("all_proxy", "http://bob:S3cret@127.0.0.1:1"),
    "of a proxy without a scheme": ("https_proxy", "bob:S3cret@127.0.0.1:1"),
    "of a broken proxy": ("https_proxy", "http://bob:pa/S3cret@127.0.0.1:1"),
    "of an ftp proxy": ("https_proxy", "ftp://bob:S3cret@127.0.0.1:1"),
}
PLAIN = {k: v for k, v in os.environ.items() if not re.match("(?i)MLPCLI_|.*_proxy", k)}


@row(23, "passwords and queries in addresses", cases=40, few=6, whole=True)
def secrets(seed: int) -> Iterator[Case]:
    for name, url in SECRETS.items():
        yield f"--url, {name}", partial(_hidden, ["--url", url])
        if "//" in url:
            yield f"unexpected argument, {name}", partial(_hidden, [url])
        yield f"listed, {name}", partial(_hidden, ["--list-mirrors", "--url", url])
    for name, (variable, value) in PROXIES.items():
        address = ["--url", "https://127.0.0.1:2/a.tar.gz"]
        yield name, partial(_hidden, address, {variable: value})
    yield "an answer of a proxy", _proxys_answer


def _hidden(arguments: list[str], variables: dict[str, str] | None = None) -> None:
    with new_folder() as path:
        # Without pauses: a host that refuses a connection is asked three times.
        run = (
            "import sys; from mlpcli.cifar10 import download; download.FIRST_PAUSE = 0.01; "
            "from mlpcli.cli.main import main; main(sys.argv[1:])"
        )
        command = [sys.executable, "-c", run, "--debug", "download", "--data-dir", "data"]
        done = subprocess.run(
            [*command, *arguments],
            cwd=path,
            env=PLAIN | (variables or {}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        shown = done.stdout + done.stderr
        assert "S3cret" not in shown, shown
        assert "\x1b" not in shown, shown


def _proxys_answer() -> None:
    """A proxy's own words are not shown: neither its escapes nor what it repeats."""

    def answer() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 407 \x1b[31m bob:S3cret \x07" + b"x" * 3000 + b"\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening, new_folder() as path:
        listening.settimeout(60)
        thread = threading.Thread(target=answer)
        thread.start()
        proxy = f"127.0.0.1:{listening.getsockname()[1]}"
        command = [*MLPCLI, "download", "--url", "https://example.org/a", "--data-dir", "data"]
        done = call(command, path, env=PLAIN | {"https_proxy": f"http://bob:S3cret@{proxy}"})
        thread.join()
    assert done.returncode == 4
    expected = f"example.org: the proxy {proxy}: answered 407 Proxy Authentication Required"
    assert errors(done.stderr)[0].endswith(f": {expected}"), done.stderr
    assert "S3cret" not in done.stderr
    assert "\x1b" not in done.stderr


# Row 24: data sets and archives that are not where, or what, they should be.

Misplaced = Callable[[Path], tuple[list[str], str]]


def one_level_too_high(data: Path) -> tuple[list[str], str]:
    return ["eval", "run", "--data-dir", str(data.parent)], "found no data set in it, but in"


def one_level_too_deep(data: Path) -> tuple[list[str], str]:
    (data / PYTHON_FOLDER / "sub").mkdir()
    return ["eval", "run", "--data-dir", str(data / PYTHON_FOLDER / "sub")], "but in"


def unpacked_twice(data: Path) -> tuple[list[str], str]:
    inner = data / PYTHON_FOLDER / PYTHON_FOLDER
    shutil.copytree(data / PYTHON_FOLDER, data / "copy")
    shutil.rmtree(data / PYTHON_FOLDER)
    inner.parent.mkdir()
    (data / "copy").rename(inner)
    return ["eval", "run", f"--data-dir={data}"], "found no data set in it, but in"


def from_a_data_set(data: Path) -> tuple[list[str], str]:
    return ["download", "--from", str(data), "--data-dir", "new"], "a data set, expected an archive"


def forced_on_the_batches(data: Path) -> tuple[list[str], str]:
    folder = str(data / PYTHON_FOLDER)
    command = ["download", "--force", "--synthetic", "--data-dir", folder]
    return command, "a folder of batches, expected the folder above it"


def of_another_digest(data: Path) -> tuple[list[str], str]:
    (data / "a.tar.gz").write_bytes(packed("new"))
    return ["download", "--from", "data/cifar/a.tar.gz", "--data-dir", "new"], "its SHA-256 is"


def missing_batch_of_another(data: Path) -> tuple[list[str], str]:
    (data / PYTHON_FOLDER / "data_batch_4").unlink()
    (data / PYTHON_FOLDER / "test_batch").unlink()
    return ["eval", "run", "--data-dir", str(data)], "test_batch: missing"


def link_to_nothing(data: Path) -> tuple[list[str], str]:
    (data / PYTHON_FOLDER / "test_batch").unlink()
    (data / PYTHON_FOLDER / "test_batch").symlink_to("/nowhere")
    return ["eval", "run", "--data-dir", str(data)], "a link to a file that is not there"


def pointer(kind: bytes, data: Path) -> tuple[list[str], str]:
    (data / PYTHON_FOLDER / "test_batch").write_bytes(kind)
    return ["eval", "run", "--data-dir", str(data)], "expected the file that it stands for"


def archive_as(
    name: str, make: Callable[[], bytes], text: str, data: Path
) -> tuple[list[str], str]:
    (data / name).write_bytes(make())
    return ["download", "--from", f"data/cifar/{name}", "--data-dir", "new"], text


def renamed(folder: str) -> bytes:
    return archives.pack(archives.entry(f"{folder}/x", b"x") + archives.END)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 31035704\n"
ANNEX = b"/annex/objects/MD5E-s31035704--0\n"
PASTED: dict[str, Misplaced] = {  # the hint, pasted, ends well
    "one level too high": one_level_too_high,
    "one level too deep": one_level_too_deep,
    "unpacked twice": unpacked_twice,
    "--from a data set": from_a_data_set,
    "--force on the batches' own folder": forced_on_the_batches,
    "an archive of another digest": of_another_digest,
}
NAMED: dict[str, Misplaced] = {
    "a missing batch of a data set that is not CIFAR-10": missing_batch_of_another,
    "a link to nothing": link_to_nothing,
    "a Git LFS pointer": partial(pointer, LFS),
    "a git-annex pointer": partial(pointer, ANNEX),
} | {
    f"--from {name}": partial(archive_as, name, make, text)
    for name, make, text in (
        ("a.tar", archives.REFUSED["a tar"], "found a tar archive that is not compressed"),
        ("a.zip", archives.REFUSED["a zip"], "found a zip archive"),
        ("a.tar.bz2", archives.REFUSED["a tar in bzip2"], "found a bzip2 file"),
        ("a.tar.xz", archives.REFUSED["a tar in xz"], "found an xz file"),
        ("a.html", archives.REFUSED["a page of a portal"], "found a web page"),
        ("empty", lambda: b"", "found an empty file"),
        ("pointer", lambda: LFS, "found a Git LFS pointer"),
        ("binary", lambda: renamed(batches.BINARY_FOLDER), "found the binary version"),
        ("matlab", lambda: renamed("cifar-10-batches-mat"), "found the Matlab version"),
        ("100", lambda: renamed("cifar-100-python"), "found CIFAR-100"),
        ("truncated", lambda: packed("new")[:-9], "it is truncated"),
        ("text", lambda: b"hello", "found a file of no known format"),
    )
}


@row(24, "data sets and archives that are not where, or what, they should be", cases=22, few=6)
def misplaced(seed: int) -> Iterator[Case]:
    for name, prepare in (PASTED | NAMED).items():
        yield name, partial(_named, prepare, pasted=name in PASTED)


@once
def network() -> bytes:
    """Return a checkpoint of a network on the shapes."""
    with new_folder() as path:
        checkpoint.save(
            path / "a.npz", untrained("softmax_cross_entropy", 4, synthetic.LABEL_NAMES)
        )
        return (path / "a.npz").read_bytes()


def _named(prepare: Misplaced, *, pasted: bool) -> None:
    with new_folder() as path:
        data = write_shapes(path / "data" / "cifar", ROWS["old"])
        (path / "run").write_bytes(network())
        command, text = prepare(data)
        before = contents(path)
        done = call([*MLPCLI, *command], path)
        assert done.returncode == 4, done.stderr
        said, *hint = done.stderr.splitlines()
        assert said.startswith("error: "), done.stderr
        assert text in said, said
        assert {k: v for k, v in contents(path).items() if not k.endswith("lock")} == before
        if pasted:
            words = shlex.split(hint[0].removeprefix("  try: mlpcli "))
            again = call([*MLPCLI, *words], path)
            assert again.returncode == 0, (hint, again.stderr)
        for line in hint:
            assert "--force" not in line or "--force" in command, "replaces a data set unasked"


# Row 25: what takes the place of an archive or a data set while it is used.


@row(25, "another archive or data set in place of the one in use", cases=40, few=6)
def replaced(seed: int) -> Iterator[Case]:
    yield "an archive, renamed", partial(_other_archive, in_place=False)
    yield "an archive, written over", partial(_other_archive, in_place=True)
    yield "a part, renamed before it is complete", _other_part
    yield "a data set between two batches", _between_two_batches
    for i in range(36):
        yield f"data sets in turn, round {i}", partial(_in_turn, random.Random(f"{seed} {i}"))


def _other_archive(*, in_place: bool) -> None:
    with new_folder() as path:
        good, other = path / "a.tar.gz", path / "b.tar.gz"
        good.write_bytes(packed("old"))
        other.write_bytes(packed("new"))
        source = Source("a.tar.gz", sha256(packed("old")), None, ())
        with install._checked(good, source, path / "data") as file:
            (path / "data").mkdir()
            if in_place:
                good.write_bytes(packed("new"))
            else:
                other.replace(good)
            try:
                counts = install.unpack(file, good, path / "data", source.sha256)
            except DataError as error:
                assert in_place, error
                assert str(error) == f"{good}: was changed while it was read"
                assert not (path / "data" / PYTHON_FOLDER).exists()
            else:
                assert not in_place
                assert counts == (OLD, 2)


def _other_part() -> None:
    """Somebody renames the part of a running download; the digest is of what was written."""
    with new_folder() as path:
        part, moved = path / "a.tar.gz.part", []

        def moving(count: int) -> None:
            if not moved:
                moved.append(part.rename(path / "moved"))
                part.write_bytes(OTHER)

        with serving(Sends()) as server:
            source = Source("a.tar.gz", DIGEST, len(BODY), (server.url,))
            shown = lambda *_: contextlib.nullcontext(moving)  # noqa: E731
            with download(source, path, shown, lambda text: None, 0) as file:
                file.seek(0)
                assert file.read() == BODY


def _between_two_batches() -> None:
    with new_folder() as path:
        write_shapes(path, ROWS["old"])
        (path / "new.tar.gz").write_bytes(packed("new"))
        with batches.open_folder(path) as folder:
            assert len(folder.read(["data_batch_1"])[1]) == ROWS["old"]
            unpack(path / "new.tar.gz", path)
            try:
                folder.read(["data_batch_2"])
            except DataError as error:
                assert str(error) == f"{path / PYTHON_FOLDER}: was replaced while it was read"
            else:
                raise AssertionError("another data set was read")
        assert install.verify(path) == (NEW, 3)


def _in_turn(rng: random.Random) -> None:
    """Read while a thread exchanges two data sets; their images differ in number and content."""
    with new_folder() as path:
        for which in ROWS:
            (path / f"{which}.tar.gz").write_bytes(packed(which))
        data = Cifar10Config(dir=str(path))
        unpack(path / "old.tar.gz", path)
        digests = {load_train(data).digest}
        unpack(path / "new.tar.gz", path)
        digests.add(load_train(data).digest)

        def exchange_them() -> None:
            for which in ("old", "new") * 5:
                with locked(path, print):
                    unpack(path / f"{which}.tar.gz", path)
                time.sleep(rng.uniform(0, 0.002))

        with ThreadPoolExecutor() as pool:
            exchanging = pool.submit(exchange_them)
            while not exchanging.done():
                try:
                    assert load_train(data).digest in digests
                except DataError as error:
                    assert "was replaced while it was read" in str(error), error
            exchanging.result()
