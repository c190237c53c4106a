"""Tables for spreadsheets."""

from __future__ import annotations

import csv
import io

import pytest

from mlpcli.runs import tables

FORMULAS = [
    "=cmd|' /C calc'!A0",
    "+1+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+1)",
    "=1+1,=2+2",
    '="x"',
]


def written(value: object) -> str:
    file = io.StringIO()
    tables.write_csv(file, ["a", "b"], [{"a": value, "b": None}])
    header, row = csv.reader(io.StringIO(file.getvalue(), newline=""))
    assert header == ["a", "b"]
    assert row[1] == ""
    return row[0]


@pytest.mark.parametrize("text", FORMULAS)
def test_text_is_never_a_formula(text: str) -> None:
    assert written(text) == f"'{text}"


@pytest.mark.parametrize(
    "value", [-0.5, 1e300, "-0.5", "+1e-3", "-inf", "a=b", "", "runs/=x", "[8]"]
)
def test_numbers_stay_numbers_and_other_text_stays_as_it_is(value: object) -> None:
    assert written(value) == str(value)
