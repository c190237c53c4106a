"""When, where and by which command a run was started. Imports no NumPy, and executes nothing."""

from __future__ import annotations

import json
import re
import shlex
import socket
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from mlpcli.errors import without_secrets
from mlpcli.files import open_regular

MAX_REF_BYTES = 4096
MAX_PACKED_BYTES = 2**24
MAX_SYMBOLIC = 5  # references that name one another


def started(file: Path) -> dict[str, Any]:
    """Return what the `environment.json` at `file` is to say of a run's start and its resumptions.

    It never fails: what was there and is not understood counts as nothing.
    """
    now = provenance()
    try:
        before = json.loads(file.read_bytes())
        return {key: before[key] for key in now} | {"resumed": [*before.get("resumed", []), now]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return dict(now)


def provenance() -> dict[str, str | None]:
    """Return what `environment.json` says of a start; never fails.

    `time` is ISO 8601 with the offset of the time zone. `git_commit` is that of the folder in which
    the command runs; None where there is none, or none that can be read.
    """
    return {
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "command": _command(),
        "git_commit": git_commit(),
    }


def _command() -> str:
    """Return the command line of this process: mlpcli's, or that of a program that imports it.

    Passwords and queries in addresses are replaced: run folders are passed on.
    """
    program, *arguments = sys.argv or [""]
    is_mlpcli = Path(program).name in ("mlpcli", "__main__.py")
    words = ["mlpcli" if is_mlpcli else program, *map(without_secrets, arguments)]
    return shlex.join(words)


def git_commit() -> str | None:
    """Return the commit that is checked out in the current folder or in one above it.

    Git itself is not called: the configuration of a repository can make it execute programs.
    """
    try:
        here = Path.cwd()
        entry = next(path for folder in (here, *here.parents) if (path := folder / ".git").exists())
        own = entry
        if entry.is_file():  # of a worktree or a submodule: names the folder that is meant
            own = entry.parent / _text(entry).removeprefix("gitdir:").strip()
        common = own
        if (own / "commondir").is_file():
            common = own / _text(own / "commondir").strip()
        return _resolve(own, common)
    except (OSError, ValueError, StopIteration):
        return None


def _resolve(own: Path, common: Path) -> str | None:
    """Return the commit that HEAD of the folder `own` comes to; branches lie in `common`."""
    text = _text(own / "HEAD").strip()
    for _ in range(MAX_SYMBOLIC):
        if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", text):
            return text
        ref = text.removeprefix("ref:").strip()
        if not ref.startswith("refs/") or ".." in ref:
            return None
        loose = next((folder / ref for folder in (own, common) if (folder / ref).is_file()), None)
        text = _text(loose).strip() if loose else _packed(common / "packed-refs", ref)
    return None


def _packed(file: Path, ref: str) -> str:
    for line in _text(file, MAX_PACKED_BYTES).splitlines():
        commit, _, name = line.partition(" ")
        if name == ref:
            return commit
    return ""


def _text(path: Path, max_bytes: int = MAX_REF_BYTES) -> str:
    with open_regular(path) as file:
        return file.read(max_bytes).decode()
