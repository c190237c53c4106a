"""Metrics against other derivations: by hand, by enumeration, from the literature."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlpcli.metrics import Confusion, calibration, confusion_matrix, mcnemar, wilson_interval


def test_the_interval_holds_the_share_as_often_as_it_says() -> None:
    """Over all outcomes of 200 images, each weighted by how likely it is."""
    for share in (0.1, 0.6, 0.9):
        covered = 0.0
        for correct in range(201):
            low, high = wilson_interval(correct, 200)
            if low <= share <= high:
                covered += math.comb(200, correct) * share**correct * (1 - share) ** (200 - correct)
        assert covered == pytest.approx(0.95, abs=0.015)


@given(st.integers(1, 10**6), st.floats(0, 1))
@example(9, 1.0)
@example(32, 1.0)
@example(65535, 1.0)
def test_an_interval_lies_within_0_and_1_and_around_the_observed_share(
    count: int, share: float
) -> None:
    correct = round(share * count)
    low, high = wilson_interval(correct, count)
    assert 0 <= low <= correct / count <= high <= 1
    assert (low == 0) == (correct == 0)
    assert low < high
    assert (high - low) < 4 / math.sqrt(count)


def test_an_interval_known_from_the_literature() -> None:
    """Newcombe (1998), table I: 81 of 263, and 0 of 20."""
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
@example([(0, 1), (0, 0), (2, 0), (2, 2), (2, 2)])
def test_precision_and_recall_are_counted_image_by_image(pairs: list[tuple[int, int]]) -> None:
    """Of 4 classes, of which one may have no images, or no predictions."""
    labels, predictions = map(np.array, zip(*pairs, strict=True))
    found = Confusion(confusion_matrix(labels, predictions, 4))
    assert found.count == len(pairs)
    assert found.accuracy == pytest.approx(sum(i == j for i, j in pairs) / len(pairs))
    assert found.interval == wilson_interval(sum(i == j for i, j in pairs), len(pairs))
    assert found.counts.dtype == np.int64
    assert {type(x) for x in (found.accuracy, *found.interval)} == {float}  # not NumPy's
    for i in range(4):
        of_class = [j for label, j in pairs if label == i]
        predicted = [label for label, j in pairs if j == i]
        assert found.counts[i].tolist() == [of_class.count(j) for j in range(4)]
        assert found.recall[i] == (of_class.count(i) / len(of_class) if of_class else 0)
        assert found.precision[i] == (predicted.count(i) / len(predicted) if predicted else 0)
        shares = [of_class.count(j) / max(1, len(of_class)) for j in range(4)]
        assert found.shares[i].tolist() == shares


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_paired_test_counts_all_outcomes_at_least_as_uneven(one: int, other: int) -> None:
    count = one + other
    uneven = [k for k in range(count + 1) if abs(2 * k - count) >= abs(one - other)]
    p = Fraction(sum(math.comb(count, k) for k in uneven), 2**count)
    assert mcnemar(one, other) == pytest.approx(float(p), rel=1e-12)
    assert mcnemar(one, other) == mcnemar(other, one)


def test_the_paired_test_is_exact_for_thousands_of_images() -> None:
    assert mcnemar(0, 0) == 1
    assert mcnemar(5000, 5000) == 1
    assert mcnemar(5100, 4900) == pytest.approx(math.erfc(199 / math.sqrt(2 * 10_000)), rel=1e-2)
    assert mcnemar(10_000, 0) == 0


def test_calibration_by_hand() -> None:
    confidence = np.array([0.05, 0.95, 0.97, 1.0, 0.5])
    correct = np.array([False, True, True, False, True])
    found = calibration(confidence, correct)
    assert found.count.tolist() == [1, 0, 0, 0, 0, 1, 0, 0, 0, 3]
    assert found.confidence[9] == pytest.approx(2.92 / 3)
    assert found.accuracy[9] == pytest.approx(2 / 3)
    assert np.isnan(found.accuracy[1])
    assert found.error == pytest.approx((0.05 + 0.5 + 0.92) / 5)
    assert type(found.error) is float  # not NumPy's


def test_accuracy_equal_to_confidence_is_no_calibration_error() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.random(200_000)
    correct = rng.random(200_000) < confidence
    assert calibration(confidence, correct).error < 0.01
    assert calibration(confidence, ~correct).error > 0.2
