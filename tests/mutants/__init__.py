"""Small changes of the source, one at a time: which of them do the tests notice?

`make mutants` makes the changes, runs the tests of the file's own package with each of them, and
prints those that no test notices. What nothing could notice is listed in `equivalent.py`.

mutmut changes nothing outside of functions, cosmic-ray drops no statement, the likeliest slip in
code that works in place, and both start Python anew for each change, which takes longer than the
tests do.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Copy:
    """A copy of the package, with links to what a checkout has beside it."""

    folder: Path

    def __post_init__(self) -> None:
        shutil.copytree(
            ROOT / "mlpcli", self.folder / "mlpcli", ignore=shutil.ignore_patterns("__pycache__")
        )
        for beside in ("configs", "docs"):
            (self.folder / beside).symlink_to(ROOT / beside)

    @contextlib.contextmanager
    def changed(self, file: str, source: str) -> Iterator[None]:
        """Have `source` in place of a file, named from mlpcli/ on."""
        path = self.folder / "mlpcli" / file
        before = path.read_text()
        path.write_text(source)
        try:
            yield
        finally:
            path.write_text(before)

    def passes(self, file: str, source: str, tests: list[str], timeout: float = 300) -> bool:
        """Return whether tests pass with `source` in place of a file.

        Tests that do not end within `timeout` seconds have noticed.
        """
        # -P: the folder that pytest is called from has a package of the same name.
        command = [sys.executable, "-P", "-m", "pytest", "-x", "-p", "no:cacheprovider", *tests]
        own = {"PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        own["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # to start sooner
        with self.changed(file, source):
            try:
                done = subprocess.run(
                    command,
                    cwd=ROOT,
                    env=os.environ | own,
                    capture_output=True,
                    check=False,
                    timeout=timeout,
                )
            except subprocess.TimeoutExpired:
                return False
        if done.returncode not in (0, 1):
            raise RuntimeError(f"pytest could not run: {done.stdout.decode()[-2000:]}")
        return done.returncode == 0
