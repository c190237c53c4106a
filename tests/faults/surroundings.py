"""Where a command is called: settings of the user for other programs, odd folders, odd paths."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from faults.rows import Case, row
from faults.runs import unprivileged
from faults.shell import MLPCLI, call, lasting_folder, new_folder, once, shapes, train

TINY = ("training.epochs=1", "model.hidden=[4]")
RUN = Path("runs/note-1")
STYLE = "axes.facecolor: red\nfont.size: 30\nno.such.key: 1\n"


@once
def trained() -> Path:
    """A folder with a run in `runs`, and with its report; made once, and not to be written to."""
    path = lasting_folder()
    assert call(train("note", *TINY), path).returncode == 0
    assert call([*MLPCLI, "report", str(RUN), "--out", "page.html"], path).returncode == 0
    return path


# For each package what its users set; the last has no value that any of them takes.
VARIABLES = {
    "tqdm": {"TQDM_DISABLE": "1", "TQDM_NCOLS": "x", "TQDM_MININTERVAL": "x", "TQDM_FILE": "x"},
    "a notebook": {"MPLBACKEND": "module://matplotlib_inline.backend_inline"},
    "matplotlib": {"MPLBACKEND": "x", "MATPLOTLIBRC": "x", "SOURCE_DATE_EPOCH": "x"},
    "NumPy": {"NUMPY_MADVISE_HUGEPAGE": "x", "NPY_DISABLE_CPU_FEATURES": "x"},
    "Pillow and protobuf": {
        "PILLOW_BLOCK_SIZE": "x",
        "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "x",
    },
    "Python's warnings": {"PYTHONWARNINGS": "error"},
    "Python's optimizer": {"PYTHONOPTIMIZE": "2"},
    "a terminal": {"COLUMNS": "x", "LINES": "-1", "TERM": "x"},
    "the C locale": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
}


@row(34, "variables and files of the user for other programs", cases=12, few=1)
def foreign_settings(seed: int) -> Iterator[Case]:
    for name, variables in VARIABLES.items():
        yield name, partial(_ignored, variables)
    yield "a matplotlibrc here", partial(_ignored, {}, "matplotlibrc", STYLE.encode())
    yield "a matplotlibrc at home", partial(_ignored, {"HOME": "."}, ".config/matplotlib", b"")
    yield "a matplotlibrc that is no text", partial(_ignored, {}, "matplotlibrc", b"\xff\0")


def _ignored(variables: dict[str, str], file: str = "", content: bytes = b"") -> None:
    """Every command ends well, and the page is the same to the byte."""
    with new_folder() as path:
        shutil.copytree(trained() / "runs", path / "runs")
        if file == ".config/matplotlib":
            (path / file).mkdir(parents=True)
            (path / file / "matplotlibrc").write_text(STYLE)
        elif file:
            (path / file).write_bytes(content)
        env = {**os.environ, **variables}
        if "HOME" in variables:
            env["HOME"] = str(path)
        run = str(RUN)
        for command in (
            train("note", *TINY),
            [*MLPCLI, "--version"],
            [*MLPCLI, "config", "list"],
            [*MLPCLI, "config", "copy", "fast"],
            [*MLPCLI, "export", run],
            [*MLPCLI, "report", "-q", run, "--out", "page.html"],
        ):
            done = call(command, path, env=env)
            assert done.returncode == 0, (command, done.stderr)
            assert "report" not in command or done.stderr == "", done.stderr
        assert (path / "page.html").read_bytes() == (trained() / "page.html").read_bytes()


# What a shell's completion or a habit gives in place of a run, by command.
INNER = (
    "checkpoints/best.npz",
    "checkpoints",
    "checkpoints/",
    "config.yaml",
    "metrics.csv",
    "summary.json",
    "environment.json",
)
TAKES = {
    "report": ["report", "--out", "page.html"],
    "eval": ["eval"],
    "export": ["export"],
    "resume": ["train", "--resume"],
}


@row(35, "a path within a run where the run is meant", cases=41, few=3)
def inner_paths(seed: int) -> Iterator[Case]:
    for name, words in TAKES.items():
        for inner in INNER:
            # The best checkpoint has no state to resume from.
            given = inner.replace("best", "last") if name == "resume" else inner
            yield f"{name} RUN/{given}", partial(_accepted, words, given)
    for inner in INNER:
        for command in ("train", "config show"):
            if inner != "config.yaml":
                yield f"{command} RUN/{inner}", partial(_answered, command, inner)
    yield "report runs/*", partial(_accepted, TAKES["report"], "../*")


def _accepted(command: list[str], inner: str) -> None:
    with new_folder() as path:
        shutil.copytree(trained() / "runs", path / "runs")
        for name in ("lock", "report.html", "sweep.csv"):
            (path / "runs" / name).touch()
        given = f"{RUN}/{inner}" if inner != "../*" else "runs/*"
        done = call(["bash", "-c", f"{shlex.join([*MLPCLI, *command])} {given}"], path)
        assert done.returncode == 0, done.stderr


def _answered(command: str, inner: str) -> None:
    """A configuration is expected: the hint, pasted, ends well."""
    with new_folder() as path:
        shutil.copytree(trained() / "runs", path / "runs")
        done = call([*MLPCLI, *command.split(), f"{RUN}/{inner}"], path)
        assert done.returncode == 2, done.stderr
        assert f"found a part of the run {RUN}, expected a configuration" in done.stderr
        follow(done.stderr, path)


def follow(stderr: str, path: Path) -> None:
    """Paste the hint of an error; it must end well."""
    (hint,) = re.findall(r"^  try: mlpcli (.*)$", stderr, re.MULTILINE)
    again = call([*MLPCLI, *shlex.split(hint)], path)
    assert again.returncode == 0, again.stderr


LINKED = {
    "eval": ["eval", "link"],
    "report": ["report", "link"],
    "train": ["train", "link"],
    "resume": ["train", "--resume", "link"],
    "runs": ["runs", "link"],
    "runs-dir": ["train", "smoke", "--runs-dir", "link"],
    "data-dir": ["download", "--synthetic", "--data-dir", "link"],
}


@row(36, "broken links, deleted and read-only folders", cases=15, few=3)
def odd_folders(seed: int) -> Iterator[Case]:
    yield "report on a read-only run", partial(_elsewhere, "report")
    yield "export of a read-only run", partial(_elsewhere, "export")
    for command in (["train", "smoke"], ["config", "copy", "fast"], ["eval", "note-1"]):
        yield f"{command[0]} in a deleted folder", partial(_deleted, command)
    yield "a report of an absolute path from a deleted folder", _from_deleted
    for name, words in LINKED.items():
        yield f"a broken link, {name}", partial(_broken_link, words, "nowhere")
    yield "a link to itself", partial(_broken_link, ["eval", "link"], "link")
    yield "an empty path", _empty


def _elsewhere(command: str) -> None:
    """The hint writes where it is allowed."""
    with new_folder() as path:
        shutil.copytree(trained() / "runs", path / "runs")
        (path / RUN).chmod(0o500)
        done = call(unprivileged([*MLPCLI, command, str(RUN)]), path)
        assert done.returncode == 1, done
        assert "cannot be written: Permission denied" in done.stderr
        follow(done.stderr, path)
        (path / RUN).chmod(0o700)
        names = {file.name for file in path.iterdir()}
        assert names & {"report.html", "note-1.onnx"}, names


def _deleted(command: list[str]) -> None:
    with new_folder() as path:
        line = f"mkdir gone && cd gone && rmdir ../gone && {shlex.join([*MLPCLI, *command])}"
        done = call(["sh", "-c", line], path, env={**os.environ, "PYTHONPATH": _package()})
        assert done.returncode in (1, 5), done
        assert done.stderr.endswith("(the current folder has been deleted)\n"), done.stderr


def _from_deleted() -> None:
    with new_folder() as path:
        run = trained() / RUN
        command = [*MLPCLI, "eval", str(run), "--data-dir", str(shapes())]
        line = f"mkdir gone && cd gone && rmdir ../gone && {shlex.join(command)}"
        done = call(["sh", "-c", line], path, env={**os.environ, "PYTHONPATH": _package()})
        assert done.returncode == 0, done.stderr


def _package() -> str:
    import mlpcli

    return str(Path(mlpcli.__file__).parent.parent)


def _broken_link(command: list[str], target: str) -> None:
    with new_folder() as path:
        (path / "link").symlink_to(target)
        done = call([*MLPCLI, *command], path)
        assert (done.returncode, done.stderr) == (2, f"error: link: a broken link, to {target}\n")


def _empty() -> None:
    with new_folder() as path:
        done = call([*MLPCLI, "eval", ""], path)
        assert done.stderr == "error: found an empty text, expected a path\n"
