"""Bars and sparklines: what they show of any number."""

from __future__ import annotations

import math

from hypothesis import example, given
from hypothesis import strategies as st

from mlpcli.cli._terminal import EIGHTHS, LEVELS, bar, sampled, sparkline

numbers = st.floats()
finite = st.floats(allow_nan=False, allow_infinity=False)


def eighths(drawn: str) -> int:
    return sum(EIGHTHS.index(character) + 1 for character in drawn)


def test_bars_by_hand() -> None:
    assert bar(0, 10) == ""
    assert bar(1, 3) == "███"
    assert bar(0.5, 3) == "█▌"
    assert bar(1 / 8, 1) == "▏"
    assert bar(1e-9, 10) == "▏", "what is not 0 is seen"


@given(numbers, st.integers(1, 80))
def test_a_bar_is_never_longer_than_its_width(share: float, width: int) -> None:
    drawn = bar(share, width)
    assert len(drawn) <= width
    assert set(drawn[:-1]) <= {"█"}
    assert (drawn == "") == (not share > 0)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 80))
def test_bars_are_true_to_an_eighth_and_in_order(a: float, b: float, width: int) -> None:
    assert abs(eighths(bar(a, width)) - a * width * 8) <= 1
    if a <= b:
        assert eighths(bar(a, width)) <= eighths(bar(b, width))


def test_sparklines_by_hand() -> None:
    assert sparkline([]) == ""
    assert sparkline(range(8)) == LEVELS
    assert sparkline([2, 2, 2]) == "▄▄▄"
    assert sparkline([0, math.nan, 1, math.inf]) == "▁ █ "
    assert sparkline([math.nan]) == " "


@given(st.lists(numbers))
def test_a_sparkline_has_a_character_a_value_and_spaces_for_what_is_not_finite(
    values: list[float],
) -> None:
    drawn = sparkline(values)
    assert [character == " " for character in drawn] == [not math.isfinite(v) for v in values]


@given(st.lists(finite, min_size=2))
@example([0.0, 5e-324])
@example([-1.7e308, 1.7e308])
@example([1.0, 1.0000000000000002])
def test_a_sparkline_reaches_from_the_bottom_to_the_top_and_keeps_the_order(
    values: list[float],
) -> None:
    levels = [LEVELS.index(character) for character in sparkline(values)]
    if min(values) < max(values):
        assert levels[values.index(min(values))] == 0
        assert levels[values.index(max(values))] == 7
    by_value = [level for _, level in sorted(zip(values, levels, strict=True))]
    assert by_value == sorted(levels)


@given(st.lists(st.integers(), min_size=1, unique=True), st.integers(2, 50))
def test_a_sample_keeps_the_ends_the_order_and_the_width(values: list[int], width: int) -> None:
    found = sampled(sorted(values), width)
    assert len(found) == min(width, len(values))
    assert (found[0], found[-1]) == (min(values), max(values))
    assert found == sorted(set(found)), "no value twice"
