"""A few cases of every fault and attack that `make torture` tries."""

from __future__ import annotations

import pytest

from faults import ROWS, Row, attempt


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: f"row {row.number}: {row.fault}")
def test_nothing_is_lost_and_nothing_let_in(row: Row) -> None:
    outcome = attempt(row, row.few, seed=0)
    if outcome.skipped:
        pytest.skip(outcome.skipped)
    assert outcome.failures == []
    assert outcome.cases == row.few


def test_the_table_is_whole() -> None:
    assert sorted(ROWS) == list(range(1, len(ROWS) + 1))
