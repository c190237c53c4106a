"""The program that changes the source: what it changes, and that the tests' verdict is found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from mutants import ROOT
from mutants.changes import mutants
from mutants.equivalent import EQUIVALENT

SOURCE = '''"""A text of 1 line."""

import numpy as np

SIZE: int = 3


def scaled(x: "array + 1", out):
    """Return 2 x, if x < 1."""
    log.debug("scaled %s", 1 + 1)
    if x < 2 and not done:
        raise ValueError(f"{x + 1} is too much")
    np.add(x, 1, out=out)  # σ, in place
    out *= x
    return out.sum(axis=0)
'''

CHANGES = """
SIZE: int = 4 | SIZE: int = 2
if False: | if True:
if x < 1 and not done: | if x < 3 and not done:
if x <= 2 and not done: | if x >= 2 and not done:
if x < 2 or not done: | if x < 2 and done: | if True and not done: | if x < 2 and True:
pass
pass  # σ, in place
np.subtract(x, 1, out=out)  # σ, in place
np.add(x, 0, out=out)  # σ, in place | np.add(x, 2, out=out)  # σ, in place
pass | out /= x
return out | return out.mean(axis=0) | return out.sum(axis=1)
"""


def test_mutants_are_single_changes_of_code_and_not_of_texts() -> None:
    found = [mutant.after for mutant in mutants(SOURCE)]
    assert sorted(found) == sorted(CHANGES.strip().replace("\n", " | ").split(" | "))
    for mutant in mutants(SOURCE):
        lines = zip(SOURCE.splitlines(), mutant.source.splitlines(), strict=True)
        assert [i for i, (old, new) in enumerate(lines, 1) if old != new] == [mutant.line]


@pytest.mark.slow
@pytest.mark.parametrize("file", EQUIVALENT)
def test_what_is_listed_as_equivalent_is_a_mutant_with_a_reason(file: str) -> None:
    changes = {mutant.change for mutant in mutants((ROOT / "mlpcli" / file).read_text())}
    assert set(EQUIVALENT[file]) <= changes
    assert all(EQUIVALENT[file].values())


def test_the_program_finds_that_tests_notice() -> None:
    command = [sys.executable, "-m", "mutants", "metrics.py", "--sample", "2"]
    done = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "| metrics.py | " in done.stdout
    assert " | 2 | 2 | 100% | " in done.stdout
