"""Runs tests on a changed copy of the package, each time in a fork of one process."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from mutants import ROOT, Copy

# What the tests import of others: imported once, before the processes that run tests part.
IMPORTED_ONCE = (
    "click.testing",
    "hypothesis.extra.numpy",
    "mpmath",
    "numpy.testing",
    "PIL.Image",
    "pytest",
    "requests",
    "sympy",
    "tqdm",
    "yaml",
)


class Runner:
    """Runs tests on a copy, each time in a fork of this process, which never imports mlpcli."""

    def __init__(self, copy: Copy) -> None:
        self._copy, self._writes, self._seconds = copy, itertools.count(1), dict[str, float]()
        for name in IMPORTED_ONCE:
            importlib.import_module(name)
        from hypothesis import Phase, settings

        phases = (Phase.explicit, Phase.generate)  # the smallest example that fails is not needed
        settings.register_profile(
            "mutants", database=None, derandomize=True, deadline=None, phases=phases
        )

    def notices(self, file: str, source: str, tests: Sequence[str] = ()) -> bool:
        """Return whether a test fails, or does not end, with `source` in place of a file.

        The tests are by default those of the file.
        """
        path = self._copy.folder / "mlpcli" / file
        with self._copy.changed(file, source):
            # Python takes compiled code for that of a file by its size and its time.
            os.utime(path, (next(self._writes),) * 2)
            return not all(map(self._pass, [tests] if tests else tests_of(file)))

    def require_that_tests_pass(self, file: str) -> None:
        """Run the tests of a file as it is, and take their time."""
        for tests in tests_of(file):
            if str(tests) not in self._seconds:
                start = time.monotonic()
                if not self._pass(tests):
                    sys.exit(f"{' '.join(tests)}: fail without any change")
                self._seconds[str(tests)] = time.monotonic() - start

    def _pass(self, tests: Sequence[str]) -> bool:
        process = multiprocessing.get_context("fork").Process(target=self._run, args=(tests,))
        process.start()
        process.join(10 + 5 * self._seconds.get(str(tests), 60))
        if process.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid or 0, signal.SIGKILL)
            process.join()
        return process.exitcode == 0

    def _run(self, tests: Sequence[str]) -> None:
        os.setsid()
        silence = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silence, stream)
        os.chdir(ROOT)
        os.environ["PYTHONPATH"] = str(self._copy.folder)
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # to start sooner
        sys.path.insert(0, str(self._copy.folder))
        sys.modules["torch"] = None  # type: ignore[assignment]  # it is not always installed
        import pytest

        options = ["-x", "-m", "not slow", "-p", "no:cacheprovider", "--tb", "no"]
        options += ["-p", "_hypothesis_pytestplugin", "--hypothesis-profile", "mutants"]
        # Hypothesis was imported before pytest could rewrite its assertions.
        options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
        code = pytest.main([*options, *tests])
        sys.stdout.flush()
        os._exit(code)


def tests_of(file: str) -> list[tuple[str, ...]]:
    """Return the tests to try one after the other: of the module, then of its package."""
    path = Path(file)
    name = f"test_{path.stem}.py"
    own = ROOT / "tests" / path.parent / name
    first = (str(own.relative_to(ROOT)),) if own.exists() else ()
    package = path.parts[0] if len(path.parts) > 1 else None
    others = sorted((ROOT / "tests" / package).glob("test_*.py")) if package else []
    rest = tuple(str(p.relative_to(ROOT)) for p in others if p != own)
    return [tests for tests in (first, rest) if tests]


def serve() -> None:
    """Answer each line of standard input, a file, its source and tests in JSON: is it noticed?"""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        runner = Runner(Copy(Path(folder)))
        for line in sys.stdin:
            print(json.dumps(runner.notices(*json.loads(line))), flush=True)


if __name__ == "__main__":
    serve()
