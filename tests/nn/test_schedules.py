"""Schedules: their curves, where they start and end, and never above 1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpcli.nn.schedules import SCHEDULES, Cosine, Step


def test_cosine_falls_from_one_to_zero_after_its_warm_up() -> None:
    schedule = Cosine(epochs=10, warmup_epochs=2)
    assert [schedule(epoch) for epoch in (0, 1, 2, 6, 10)] == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_cosine_is_no_line_and_stays_at_zero_past_its_end() -> None:
    schedule = Cosine(epochs=8)
    factors = [schedule(epoch) for epoch in (1, 2, 6, 8, 9)]
    half = 0.5**0.5  # cos(π/4)
    expected = [(1 + (0.5 + half / 2) ** 0.5) / 2, (1 + half) / 2, (1 - half) / 2, 0, 0]
    assert factors == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_warms_up_on_a_line(name: str) -> None:
    schedule = SCHEDULES[name](epochs=10, warmup_epochs=4)
    assert [schedule(epoch) for epoch in (0, 1, 3, 4)] == pytest.approx([0, 0.25, 0.75, 1])


def test_step_drops_at_its_epochs() -> None:
    for schedule in (Step(epochs=30, step_every=10, step_factor=0.1), Step(epochs=30)):
        assert [schedule(epoch) for epoch in (0, 9.99, 10, 25)] == pytest.approx([1, 1, 0.1, 0.01])


@given(
    name=st.sampled_from(sorted(SCHEDULES)),
    epochs=st.integers(1, 50),
    warmup=st.floats(0, 0.9),
    done=st.floats(0, 1),
)
def test_a_factor_lies_between_0_and_1(name: str, epochs: int, warmup: float, done: float) -> None:
    assert 0 <= SCHEDULES[name](epochs, warmup * epochs)(done * epochs) <= 1
