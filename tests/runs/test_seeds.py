"""Mean and standard deviation over seeds, by hand."""

from __future__ import annotations

import pytest

from mlpcli.runs.seeds import SeedAccuracies


def test_the_std_is_that_of_a_sample() -> None:
    three = SeedAccuracies([0.50, 0.52, 0.57])
    assert three.mean == pytest.approx(0.53)
    assert three.std == pytest.approx((0.0026 / 2) ** 0.5)
    assert str(three) == "53.00% ± 3.61"
    assert SeedAccuracies([0.4, 0.6]).std == pytest.approx(0.02**0.5)


def test_one_run_has_no_std_and_none_has_no_mean() -> None:
    one, none = SeedAccuracies([0.5]), SeedAccuracies([])
    assert (one.mean, one.std, str(one)) == (0.5, None, "50.00%")
    assert (none.mean, none.std, str(none)) == (None, None, "–")


def test_configurations_without_an_accuracy_rank_last() -> None:
    wrong, none = SeedAccuracies([0.0]), SeedAccuracies([])
    assert none.rank < wrong.rank < SeedAccuracies([0.0, 0.1]).rank
