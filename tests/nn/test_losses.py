"""Losses: right at every logit, and their gradients agree with the complex step."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpcli.nn.losses import LOSSES, SigmoidCrossEntropy, SoftmaxCrossEntropy, SquaredError

REAL = [np.float32, np.float64]


def one_hot(labels: list[int], classes: int, dtype: type) -> np.ndarray:
    return np.eye(classes, dtype=dtype)[labels]


@pytest.mark.parametrize(("dtype", "rel"), [(np.float32, 1e-6), (np.float64, 1e-14)])
@given(t=st.floats(-80, 80, width=32), y=st.sampled_from([0.0, 1.0]))
def test_sigmoid_cross_entropy_is_equation_3(dtype: type, rel: float, t: float, y: float) -> None:
    """−log σ(t) = log(1 + e^−t) and −log(1 − σ(t)) = log(1 + e^t), however small."""
    ours = SigmoidCrossEntropy(1, 1, dtype).forward(np.array([[t]], dtype), np.array([[y]], dtype))
    assert ours == pytest.approx(log_1_plus_exp(-t if y else t), rel=rel, abs=0)


def log_1_plus_exp(t: float) -> float:
    return max(t, 0) + math.log1p(math.exp(-abs(t)))


@given(t=st.floats(-80, 80), y=st.floats(0, 1))
def test_sigmoid_cross_entropy_of_targets_between_0_and_1(t: float, y: float) -> None:
    ours = SigmoidCrossEntropy(1, 1, np.float64).forward(np.array([[t]]), np.array([[y]]))
    expected = y * log_1_plus_exp(-t) + (1 - y) * log_1_plus_exp(t)
    assert ours == pytest.approx(expected, rel=1e-12, abs=1e-13)


@given(t=st.floats(-30, 30), y=st.floats(0, 1))
def test_squared_error_is_equation_1(t: float, y: float) -> None:
    ours = SquaredError(1, 1, np.float64).forward(np.array([[t]]), np.array([[y]]))
    assert ours == pytest.approx(0.5 * (1 / (1 + math.exp(-t)) - y) ** 2, rel=1e-9, abs=1e-20)


@pytest.mark.parametrize(("dtype", "rel"), [(np.float32, 1e-6), (np.float64, 1e-14)])
@given(
    logits=st.lists(st.floats(-30, 30, width=32), min_size=3, max_size=3), label=st.integers(0, 2)
)
def test_softmax_cross_entropy_is_minus_the_log_of_its_share(
    dtype: type, rel: float, logits: list[float], label: int
) -> None:
    """−log ŷ = log(1 + Σ e^(t − t_label)) over the other classes, however small."""
    ours = SoftmaxCrossEntropy(1, 3, dtype).forward(
        np.array([logits], dtype), one_hot([label], 3, dtype)
    )
    others = sum(math.exp(t - logits[label]) for k, t in enumerate(logits) if k != label)
    assert ours == pytest.approx(math.log1p(others), rel=10 * rel, abs=0)


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("size", [20.0, 1e4])
def test_far_logits_give_finite_losses_and_gradients(name: str, dtype: type, size: float) -> None:
    T = np.array([[size, -size], [-size, size], [-size, -size]], dtype)
    Y = one_hot([0, 0, 0], 2, dtype)
    loss = LOSSES[name](3, 2, dtype)
    value, gradient = loss.forward(T, Y), loss.backward(T, Y).copy()
    assert math.isfinite(value)
    assert value > 0
    assert np.isfinite(gradient).all()


def test_a_wrong_sure_answer_costs_its_logit() -> None:
    T, Y = np.array([[20.0]], np.float32), np.array([[0.0]], np.float32)
    assert SigmoidCrossEntropy(1, 1, np.float32).forward(T, Y) == pytest.approx(20.0)


@pytest.mark.parametrize("dtype", REAL)
def test_softmax_shifts_each_row_by_its_own_maximum(dtype: type) -> None:
    """One maximum for the batch would leave the second row without a probability."""
    T = np.array([[1000, 999], [-1000, -1001], [0, -1]], dtype)
    Y = one_hot([0, 1, 0], 2, dtype)
    loss = SoftmaxCrossEntropy(3, 2, dtype)
    p = 1 / (1 + math.exp(-1))
    expected = -(2 * math.log(p) + math.log(1 - p)) / 3
    assert loss.forward(T, Y) == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(loss.probs(T), [[p, 1 - p]] * 3, rtol=1e-6)
    np.testing.assert_allclose(loss.backward(T, Y) * 3, [p, 1 - p] - Y, rtol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_of_a_batch_by_hand(name: str) -> None:
    """At logits log 3 and 0, of which a sigmoid makes ¾ and ½, and softmax ¾ and ¼."""
    T = np.array([[math.log(3), 0], [0, math.log(3)], [math.log(3), 0]])
    Y = one_hot([0, 0, 0], 2, np.float64)
    log2, log3, log4 = map(math.log, (2, 3, 4))
    right, wrong = {
        "sigmoid_cross_entropy": (log4 - log3 + log2, log2 + log4),
        "squared_error": ((0.25**2 + 0.5**2) / 2, (0.5**2 + 0.75**2) / 2),
        "softmax_cross_entropy": (log4 - log3, log4),
    }[name]
    value = LOSSES[name](3, 2, np.float64).forward(T, Y)
    assert value == pytest.approx((2 * right + wrong) / 3, rel=1e-14)


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_is_the_mean_of_its_examples(name: str, dtype: type) -> None:
    rng = np.random.default_rng(0)
    T, Y = rng.normal(size=(5, 3)).astype(dtype), one_hot([0, 1, 2, 1, 0], 3, dtype)
    loss = LOSSES[name](5, 3, dtype)
    whole, gradient = loss.forward(T, Y), loss.backward(T, Y).copy()
    singles = [loss.forward(T[i : i + 1], Y[i : i + 1]) for i in range(5)]
    assert whole == pytest.approx(np.mean(singles), rel=1e-6)
    for i in range(5):
        single = loss.backward(T[i : i + 1], Y[i : i + 1])[0]
        np.testing.assert_allclose(gradient[i] * 5, single, rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_equal_the_complex_step_at_the_origin_too(name: str) -> None:
    T, Y = np.zeros((2, 3)), one_hot([0, 2], 3, np.float64)
    gradient = LOSSES[name](2, 3, np.float64).backward(T, Y)
    in_complex, h = LOSSES[name](2, 3, np.complex128), 1e-30
    for index in np.ndindex(T.shape):
        step = T.astype(np.complex128)
        step[index] += 1j * h
        assert in_complex.forward(step, Y).imag / h == pytest.approx(gradient[index], rel=1e-14)


@pytest.mark.parametrize("name", LOSSES)
def test_results_have_as_many_rows_as_the_batch(name: str) -> None:
    loss, T, Y = LOSSES[name](4, 3, np.float64), np.zeros((4, 3)), np.eye(4, 3)
    for n in (1, 2, 4):
        assert loss.probs(T[:n]).shape == (n, 3)
        assert loss.backward(T[:n], Y[:n]).shape == (n, 3)


@pytest.mark.parametrize("name", LOSSES)
def test_predictions_lie_between_0_and_1(name: str) -> None:
    T = np.array([[-50.0, 0.0, 50.0]])
    probs = LOSSES[name](1, 3, np.float64).probs(T)
    assert ((probs >= 0) & (probs <= 1)).all()
