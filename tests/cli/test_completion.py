"""Completion: what click proposes, and what real shells make of it when Tab is pressed."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Command

from mlpcli.cli.main import COMMANDS
from mlpcli.config import settings

BIN = Path(sys.executable).parent
ENVIRONMENT = {"PATH": f"{BIN}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8", "TERM": "dumb"}
KEYS = [f"{key}=" for key in settings.KEYS]

START = {
    "bash": (
        ["bash", "--norc", "--noprofile", "-i"],
        'eval "$(_MLPCLI_COMPLETE=bash_source mlpcli)"',
    ),
    "zsh": (["zsh", "-f", "-i"], 'eval "$(_MLPCLI_COMPLETE=zsh_source mlpcli)"'),
    "fish": (["fish", "--no-config", "-i"], "_MLPCLI_COMPLETE=fish_source mlpcli | source"),
}


def proposed(mlpcli: Command, *words: str, shell: str = "zsh", cursor: int = -1) -> list[str]:
    """Return what is proposed for the last word, by the protocol of a shell."""
    position = str(cursor if cursor >= 0 else len(words))
    if shell == "fish":
        position = words[-1]
    done = mlpcli(
        env={
            **os.environ,
            "_MLPCLI_COMPLETE": f"{shell}_complete",
            "COMP_WORDS": "\n".join(("mlpcli", *words)),
            "COMP_CWORD": position,
        }
    )
    assert (done.returncode, done.stderr) == (0, "")
    if shell == "zsh":  # lines of three: kind, value, help
        return done.stdout.splitlines()[1::3]
    lines = done.stdout.split("\n")
    return [line.partition(",")[2].partition("\t")[0] for line in lines if line]


@pytest.mark.parametrize("shell", START)
def test_commands_options_and_choices_are_proposed(mlpcli: Command, shell: str) -> None:
    assert proposed(mlpcli, "", shell=shell) == list(COMMANDS)
    assert proposed(mlpcli, "pr", shell=shell) == ["predict"]
    assert proposed(mlpcli, "config", "", shell=shell) == ["schema", "show"]
    assert proposed(mlpcli, "config", "sh", shell=shell) == ["show"]
    assert proposed(mlpcli, "eval", "--sp", shell=shell) == ["--split"]
    assert proposed(mlpcli, "eval", "--split", "t", shell=shell) == ["test", "train"]


@pytest.mark.parametrize("shell", START)
def test_keys_are_proposed_and_the_values_of_a_key_that_has_few(
    mlpcli: Command, shell: str
) -> None:
    def of(text: str) -> list[str]:
        return proposed(mlpcli, "train", "x.yaml", "--set", text, shell=shell)

    assert of("optimizer.l") == ["optimizer.learning_rate="]
    if shell != "bash":  # which splits words at `=`: see below
        assert of("optimizer.name=") == ["optimizer.name=sgd", "optimizer.name=adamw"]
        assert of("training.patience=") == ["training.patience=null"]
        assert of("augment.flips=t") == ["augment.flips=true"]
        assert of("optimizer.learning_rate=") == []
        assert of("nowhere=") == []


def test_every_key_is_proposed(mlpcli: Command) -> None:
    for command in (["train"], ["gradcheck"], ["config", "show"]):
        assert proposed(mlpcli, *command, "--set", "") == KEYS


@pytest.mark.parametrize(
    ("words", "cursor", "expected"),
    [
        (["--set", "optimizer.name", "="], 4, ["sgd", "adamw"]),
        (["--set", "optimizer.name", "=", "a"], 5, ["adamw"]),
        (["--set", "optimizer.name=a"], 3, ["optimizer.name=adamw"]),  # a bash that does not split
        (["--set", "="], 3, []),
        (["--set", "=", "optimizer.l"], 4, ["optimizer.learning_rate="]),
        (["--set", "=", "optimizer.name", "=", "a"], 6, ["adamw"]),
        (["--set", "seed", "=", "1", "--set", "mod"], 7, [k for k in KEYS if "model" in k]),
        (["--set", "seed", "=", "1", "--split"], 6, []),
    ],
)
def test_bash_splits_words_at_the_sign_and_gets_what_comes_after_it(
    mlpcli: Command, words: list[str], cursor: int, expected: list[str]
) -> None:
    if words == ["--set", "="]:
        expected = KEYS
    assert proposed(mlpcli, "train", *words, shell="bash", cursor=cursor) == expected


def test_completion_imports_neither_numpy_nor_requests() -> None:
    code = (
        "import sys\nfrom mlpcli.cli.main import run\ncode = run([])\n"
        "sys.exit(f'{code} {set(sys.modules)}' if code or "
        "{'numpy', 'requests', 'PIL'} & set(sys.modules) else 0)"
    )
    for words in ("mlpcli ", "mlpcli predict --t", "mlpcli train --set optimizer.n"):
        count = len(words.split()) - (not words.endswith(" "))
        variables = {
            "_MLPCLI_COMPLETE": "zsh_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(count),
        }
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout


@contextlib.contextmanager
def terminal(shell: str, folder: Path) -> Iterator[int]:
    """Start a shell that someone types to, with completion set up."""
    if not shutil.which(shell):
        pytest.skip(f"needs {shell}")
    command, set_up = START[shell]
    child, descriptor = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execvpe(command[0], command, {**ENVIRONMENT, "HOME": str(folder)})
    try:
        type_in(descriptor, f"{set_up}\n")
        type_in(descriptor, "printf '[%s]' set up; echo\n")
        read_until(descriptor, r"\[set\]\[up\]")
        yield descriptor
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(descriptor)


def type_in(descriptor: int, keys: str) -> None:
    os.write(descriptor, keys.encode())


def read_until(descriptor: int, pattern: str, seconds: float = 20) -> re.Match[str]:
    """Return where a pattern stands in what a terminal shows, once it does."""
    shown, end = "", time.monotonic() + seconds
    while time.monotonic() < end:
        if select.select([descriptor], [], [], 0.1)[0]:
            shown += os.read(descriptor, 4096).decode(errors="replace")
        if found := re.search(pattern, shown):
            return found
    raise AssertionError(f"no {pattern} in {shown!r}")


@pytest.mark.parametrize("shell", START)
@pytest.mark.parametrize(
    ("keys", "completed"),
    [
        ("mlpcli pred\t", "mlpcli|predict"),
        ("mlpcli config sh\t", "mlpcli|config|show"),
        ("mlpcli eval --spl\tva\t", "mlpcli|eval|--split|val"),
        ("mlpcli train my\t", "mlpcli|train|my-note.yaml"),
        (
            "mlpcli train my\t--set optimizer.lea\t0.5",
            "mlpcli|train|my-note.yaml|--set|optimizer.learning_rate=0.5",
        ),
        (
            "mlpcli train --set optimizer.nam\tad\t--q\t",
            "mlpcli|train|--set|optimizer.name=adamw|--quiet",
        ),
        (
            "mlpcli train --set seed=1 --set loss=sq\t",
            "mlpcli|train|--set|seed=1|--set|loss=squared_error",
        ),
    ],
)
def test_a_tab_completes_in_a_real_shell(
    tmp_path: Path, shell: str, keys: str, completed: str
) -> None:
    (tmp_path / "my-note.yaml").touch()
    with terminal(shell, tmp_path) as descriptor:
        # What was completed is shown by printing it in place of running it.
        type_in(descriptor, f"{keys}\x01printf '[%s]' : \x05\n")
        expected = "".join(f"[{word}]" for word in [":", *completed.split("|")])
        read_until(descriptor, re.escape(expected))
