"""The number of BLAS threads, before and after NumPy is imported."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import Without

from mlpcli import environment

BEFORE = """
from mlpcli import environment
environment.set_threads(1)
import numpy
print(environment.threads())
"""
AFTER = """
import numpy
from mlpcli import environment
with environment.set_threads(None):
    print(environment.threads())
for _ in range(2):
    with environment.set_threads(3):
        print(environment.threads())
print(environment.threads())
"""
TWO = {"OPENBLAS_NUM_THREADS": "2"}


def printed(code: str, variables: dict[str, str]) -> tuple[list[int], str]:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return list(map(int, done.stdout.split())), done.stderr


@pytest.fixture(params=[True, False])
def variables(request: pytest.FixtureRequest, without: Without) -> dict[str, str]:
    """The environment of a process with threadpoolctl, and of one without it."""
    if not request.param:
        return without("threadpoolctl")
    pytest.importorskip("threadpoolctl")
    return {}


def test_before_numpy_is_imported_they_are_set(variables: dict[str, str]) -> None:
    assert printed(BEFORE, variables) == ([1], "")


def test_afterwards_threadpoolctl_sets_them_for_a_while() -> None:
    pytest.importorskip("threadpoolctl")
    before = min(2, environment.usable_cores())  # OpenBLAS starts no more than that
    assert printed(AFTER, TWO) == ([before, 3, 3, before], "")


def test_afterwards_and_without_it_one_warning_says_that_they_stay(without: Without) -> None:
    threads, stderr = printed(AFTER, without("threadpoolctl") | TWO)
    assert threads == [2, 2, 2, 2]
    (warning,) = [line for line in stderr.splitlines() if "Warning" in line]
    assert "it has 2, not 3; pip install threadpoolctl, or set OPENBLAS_NUM_THREADS=3" in warning


@pytest.mark.parametrize(
    ("openblas", "omp"), [("1", "2"), ("", "1"), ("no", "1"), ("0", "1"), ("1", "no")]
)
def test_the_variables_count_as_openblas_reads_them(
    variables: dict[str, str], openblas: str, omp: str
) -> None:
    code = "import numpy; from mlpcli import environment; print(environment.threads())"
    given = {"OPENBLAS_NUM_THREADS": openblas, "OMP_NUM_THREADS": omp}
    assert printed(code, variables | given) == ([1], "")


@pytest.mark.parametrize("found", [{}, {"Build Dependencies": {"blas": {"name": None}}}])
def test_a_numpy_that_does_not_name_its_blas_is_described(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, object]
) -> None:
    monkeypatch.setattr(np, "show_config", lambda mode: found)
    facts = environment.describe()
    assert (facts["numpy"], facts["blas"]) == (np.__version__, "unknown")
