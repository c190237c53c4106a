"""Schedules: where they start, where they end, and never above 1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpcli.nn.schedules import SCHEDULES, Cosine, Step


def test_cosine_falls_from_one_to_zero_after_its_warm_up() -> None:
    schedule = Cosine(epochs=10, warmup_epochs=2)
    assert [schedule(epoch) for epoch in (0, 1, 2, 6, 10)] == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_step_drops_at_its_epochs() -> None:
    schedule = Step(epochs=30, step_every=10, step_factor=0.1)
    assert [schedule(epoch) for epoch in (0, 9.99, 10, 25)] == pytest.approx([1, 1, 0.1, 0.01])


@given(
    name=st.sampled_from(sorted(SCHEDULES)),
    epochs=st.integers(1, 50),
    warmup=st.floats(0, 0.9),
    done=st.floats(0, 1),
)
def test_a_factor_lies_between_0_and_1(name: str, epochs: int, warmup: float, done: float) -> None:
    assert 0 <= SCHEDULES[name](epochs, warmup * epochs)(done * epochs) <= 1
