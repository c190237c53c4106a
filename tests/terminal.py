"""The command line on a terminal of its own."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path


def on_a_terminal(cwd: Path, *arguments: object, columns: int = 80, **environment: str) -> str:
    """Call the command line with all its output on a terminal; return what that was sent.

    A terminal of 0 columns has 0 lines too: its size is unknown.
    """
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (24 if columns else 0, columns))
    command = [sys.executable, "-m", "mlpcli", *map(str, arguments)]
    streams = {"stdin": its, "stdout": its, "stderr": its}
    with subprocess.Popen(command, cwd=cwd, env={**os.environ, **environment}, **streams) as done:
        os.close(its)
        sent = b""
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
            while piece := os.read(ours, 65536):
                sent += piece
    os.close(ours)
    assert done.returncode == 0, sent.decode()
    return sent.decode()


def frames(sent: str) -> list[str]:
    """Return what was shown on a line, one after another."""
    return [text.rstrip() for text in re.split(r"[\r\n]+|\x1b\[A", sent) if text.strip()]
