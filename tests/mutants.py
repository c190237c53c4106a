"""Copies of the package in which one file is changed: do the tests notice?"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


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

    def passes(self, file: str, source: str, tests: list[str], timeout: float = 300) -> bool:
        """Return whether tests pass with `source` in place of a file, named from mlpcli/ on.

        Tests that do not end within `timeout` seconds have noticed.
        """
        path = self.folder / "mlpcli" / file
        before = path.read_text()
        path.write_text(source)
        # -P: the folder that pytest is called from has a package of the same name.
        command = [sys.executable, "-P", "-m", "pytest", "-x", "-p", "no:cacheprovider", *tests]
        own = {"PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
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
        finally:
            path.write_text(before)
        if done.returncode not in (0, 1):
            raise RuntimeError(f"pytest could not run: {done.stdout.decode()[-2000:]}")
        return done.returncode == 0
