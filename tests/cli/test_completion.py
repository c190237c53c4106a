"""Completion: what Click proposes, and what real shells make of it when Tab is pressed."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shlex
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
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{BIN}:{os.environ['PATH']}",
    "LC_ALL": "C.UTF-8",
    "TERM": "dumb",
}
KEYS = [f"{key}=" for key in settings.KEYS]

START = {
    "bash": (
        ["bash", "--norc", "--noprofile", "-i"],
        'eval "$(_MLPCLI_COMPLETE=bash_source mlpcli)"',
    ),
    "zsh": (
        ["zsh", "-f", "-i"],
        'autoload -Uz compinit && compinit -u; eval "$(_MLPCLI_COMPLETE=zsh_source mlpcli)"',
    ),
    "fish": (["fish", "--no-config", "-i"], "_MLPCLI_COMPLETE=fish_source mlpcli | source"),
}


def proposed(mlpcli: Command, *words: str) -> list[str]:
    """Return what is proposed for the last word, by Click's protocol for zsh."""
    done = mlpcli(
        env={
            **os.environ,
            "_MLPCLI_COMPLETE": "zsh_complete",
            "COMP_WORDS": shlex.join(("mlpcli", *words)),
            "COMP_CWORD": str(len(words)),
        }
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()[1::3]  # of lines of three: kind, value, help


def test_commands_options_and_choices_are_proposed(mlpcli: Command) -> None:
    assert proposed(mlpcli, "") == list(COMMANDS)
    assert proposed(mlpcli, "config", "") == ["copy", "list", "schema", "show"]
    assert proposed(mlpcli, "eval", "--sp") == ["--split"]
    assert proposed(mlpcli, "eval", "--split", "t") == ["test", "train"]


def test_every_key_is_proposed(mlpcli: Command) -> None:
    for command in (["train"], ["gradcheck"], ["config", "show"]):
        assert proposed(mlpcli, *command, "--set", "") == KEYS


def test_a_key_that_alone_matches_is_proposed_with_its_default_too(mlpcli: Command) -> None:
    def of(text: str) -> list[str]:
        return proposed(mlpcli, "train", "--set", text)

    assert of("optimizer.l") == ["optimizer.learning_rate=", "optimizer.learning_rate=0.1"]
    assert of("model.hidden") == ["model.hidden=", "model.hidden=[512]"]
    assert of("optimizer.beta") == ["optimizer.beta1=", "optimizer.beta2="]
    assert of("optimizer.name=") == of("nowhere") == []


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


@pytest.mark.slow
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
            "mlpcli train --set seed=1 --set lo\tsquared_error --q\t",
            "mlpcli|train|--set|seed=1|--set|loss=squared_error|--quiet",
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
