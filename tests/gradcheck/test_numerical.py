"""Numerical differentiation: what each method finds of a loss whose gradient is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mlpcli.gradcheck.numerical import (
    CENTRAL_STEPS,
    Derivatives,
    active_units,
    norm,
    ratio,
    relative_error,
    same_units,
)
from mlpcli.nn.model import Model

SIZES = (5, 4, 3)


def derivatives(
    activation: str = "tanh", loss: str = "softmax_cross_entropy", scale: float = 0.5
) -> tuple[Derivatives, dict[str, np.ndarray]]:
    """A random model's derivatives, and the gradients of its backward pass."""
    rng = np.random.default_rng(3)
    model = Model(SIZES, activation, loss, 6, np.float64)
    model.network.params[...] = scale * rng.standard_normal(model.network.params.size)
    X, Y = rng.standard_normal((6, 5)), np.eye(3)[rng.integers(3, size=6)]
    model.backward(model.forward(X), Y)
    gradients = {name: g.copy() for name, g in model.network.named_grads.items()}
    return Derivatives(model, model.in_dtype(np.complex128, 6), X, Y), gradients


def unit(size: int) -> np.ndarray:
    v = np.random.default_rng(0).standard_normal(size)
    return v / np.linalg.norm(v)


def test_the_complex_step_is_exact_and_leaves_the_model_real() -> None:
    found, gradients = derivatives()
    before = found.complex_model.network.params.copy()
    for name, gradient in gradients.items():
        for k, entry in enumerate(gradient.ravel()):
            assert found.complex_step(name, k, 1.0) == pytest.approx(entry, rel=1e-12, abs=1e-16)
            assert found.complex_step(name, k, -2.0) == pytest.approx(-2 * entry, rel=1e-12)
        direction = unit(gradient.size)
        along = found.complex_step(name, slice(None), direction)
        assert along == pytest.approx(gradient.ravel() @ direction, rel=1e-12)
    np.testing.assert_array_equal(found.complex_model.network.params, before)


def test_central_differences_err_by_the_square_of_their_step() -> None:
    found, gradients = derivatives()
    before = found.model.network.params.copy()
    for name, gradient in gradients.items():
        direction = unit(gradient.size)
        exact = gradient.ravel() @ direction
        (wide, smooth), (narrow, _) = (
            found.central(name, slice(None), direction, step) for step in (2e-2, 1e-2)
        )
        assert smooth
        assert (wide - exact) / (narrow - exact) == pytest.approx(4, rel=0.01)
        assert found.central(name, 1, 1.0, 1e-5)[0] == pytest.approx(gradient.ravel()[1], rel=1e-6)
    np.testing.assert_array_equal(found.model.network.params, before)


def test_the_best_central_step_is_the_one_whose_neighbours_agree_best() -> None:
    found, gradients = derivatives()
    for name, gradient in gradients.items():
        direction = unit(gradient.size)
        exact = gradient.ravel() @ direction
        errors = {
            h: abs(found.central(name, slice(None), direction, h)[0] - exact) for h in CENTRAL_STEPS
        }
        slopes = [found.central(name, slice(None), direction, h)[0] for h in CENTRAL_STEPS]
        apart = [
            abs(slopes[i] - slopes[i - 1]) + abs(slopes[i + 1] - slopes[i])
            for i in range(1, len(slopes) - 1)
        ]
        chosen = found.best_central_step(name, direction)
        assert apart[list(CENTRAL_STEPS).index(chosen) - 1] == min(apart)
        assert 1e-6 <= chosen <= 1e-3
        assert errors[chosen] <= 30 * min(errors.values()) + 1e-14
        assert errors[chosen] < 1e-3 * errors[CENTRAL_STEPS[0]]


def test_a_difference_across_a_kink_is_told() -> None:
    found, _ = derivatives("relu")
    W, b = (found.model.network.named_params[name] for name in ("W1", "b1"))
    W[...], b[...] = 0, [1e-3, 1, 2, -1]
    assert found.central("b1", 0, 1.0, 1e-2)[1] is False
    assert found.central("b1", 0, 1.0, 1e-4)[1] is True
    assert found.central("b1", 3, 1.0, 1e-2)[1] is True
    found.model.forward(found.X)
    (units,) = active_units(found.model)
    np.testing.assert_array_equal(units, [[True, True, True, False]] * 6)
    assert same_units([units], [units.copy()])
    assert not same_units([units, units], [units, ~units])


def test_the_taylor_slope_looks_at_no_step_across_a_kink() -> None:
    """Beyond the kink even a right gradient leaves a remainder in proportion to the step."""
    found, _ = derivatives("relu")
    W, b = (found.model.network.named_params[name] for name in ("W1", "b1"))
    W[...], b[...] = 0, [1e-13, 1, 2, 3]
    at_kink = Derivatives(found.model, found.complex_model, found.X, found.Y)
    found.model.backward(found.model.forward(found.X), found.Y)
    gradient = found.model.network.named_grads["b1"].copy()
    assert abs(gradient[0]) > 1e-3
    assert at_kink.taylor_slope("b1", gradient, [np.array([-1.0, 0, 0, 0])]) is None


def test_the_taylor_slope_is_2_for_a_right_gradient_and_1_for_a_wrong_one() -> None:
    found, gradients = derivatives()
    for name, gradient in gradients.items():
        g, directions = gradient.ravel(), [unit(gradient.size)]
        assert found.taylor_slope(name, g, directions) == pytest.approx(2, abs=0.02)
        for wrong in (-g, 1.01 * g, 0 * g):
            assert found.taylor_slope(name, wrong, directions) == pytest.approx(1, abs=0.1)


def test_the_best_of_several_directions_counts() -> None:
    """Across one direction a wrong gradient may be right, and then the next one tells nothing."""
    found, gradients = derivatives()
    g = gradients["b2"]
    right, other = np.array([1.0, 0, 0]), np.array([0, 1.0, 0])
    wrong = g + np.array([0, 1, 0])
    assert found.taylor_slope("b2", wrong, [other]) == pytest.approx(1, abs=0.1)
    assert found.taylor_slope("b2", wrong, [other, right]) == pytest.approx(2, abs=0.02)
    assert found.taylor_slope("b2", wrong, [right, other]) == pytest.approx(2, abs=0.02)


@pytest.mark.parametrize(
    ("slopes", "best"),
    [([1.2, 1.1, 1.0], 1.2), ([1.0, 1.2], 1.2), ([None, 1.0, None], 1.0), ([1.0, 1.95, 3.0], 1.95)],
)
def test_directions_are_tried_until_one_has_a_slope_of_2(
    slopes: list[float | None], best: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = derivatives()
    given = iter(slopes)
    monkeypatch.setattr(found, "_slope_along", lambda *_: next(given))
    assert found.taylor_slope("b2", np.zeros(3), [np.zeros(3)] * len(slopes)) == best


def test_a_loss_without_curvature_has_no_taylor_slope() -> None:
    found, gradients = derivatives("tanh", "sigmoid_cross_entropy")
    found.model.network.named_params["b2"][...] = 1e4  # far from every kink of |t|
    flat = Derivatives(found.model, found.complex_model, found.X, found.Y)
    slope = np.array([flat.complex_step("b2", k, 1.0) for k in range(3)])
    found.model.backward(found.model.forward(found.X), found.Y)
    gradient = found.model.network.named_grads["b2"]
    assert flat.taylor_slope("b2", gradient, [unit(3)]) is None
    assert slope.shape == gradients["b2"].shape


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_the_rounding_of_a_loss_is_bounded_and_not_by_much(scale: float) -> None:
    found, _ = derivatives("tanh", "sigmoid_cross_entropy", scale)
    P = {k: v.astype(np.longdouble) for k, v in found.model.network.named_params.items()}
    T = np.tanh(found.X @ P["W1"] + P["b1"]) @ P["W2"] + P["b2"]
    terms = np.maximum(T, 0) - T * found.Y + np.log1p(np.exp(-np.abs(T)))
    exact = terms.sum() / len(found.X)
    assert found.level == pytest.approx(float(exact), rel=1e-12)
    assert abs(found.level - exact) < found.rounding
    assert 2e-15 * found.level < found.rounding < 1e-14 * (found.level + 100 * scale)


def test_the_largest_logit_of_each_example_rounds_the_loss() -> None:
    found, _ = derivatives()
    found.model.network.named_params["b2"][...] = [1e6, 0, 0]
    far = Derivatives(found.model, found.complex_model, found.X, found.Y)
    assert far.rounding > 1e6 * 8 * np.finfo(float).eps


@pytest.mark.parametrize(
    ("a", "b", "error"),
    [
        ([0], [0], 0),
        ([1], [0], 1),
        ([0], [1], 1),
        ([3, 4], [3, -4], 1.6),
        ([np.nan], [1], np.inf),
        ([1e-300], [2e-300], 0.5),
    ],
)
def test_relative_error(a: list[float], b: list[float], error: float) -> None:
    assert relative_error(np.array(a, float), np.array(b, float)) == pytest.approx(error)


def test_a_ratio_of_nothing_is_0_and_one_that_is_not_finite_is_infinite() -> None:
    assert ratio(3, 2) == 1.5
    assert ratio(0, 0) == 0
    assert ratio(math.nan, 1) == math.inf
    assert ratio(1, math.nan) == math.inf
    with np.errstate(all="ignore"):
        assert ratio(np.float64(1e300), np.float64(1e-300)) == math.inf


def test_the_norm_neither_overflows_nor_underflows() -> None:
    assert norm(np.array([[3.0], [4.0]])) == 5
    assert norm(np.array([3e-200, 4e-200])) == pytest.approx(5e-200)
    assert norm(np.array([3e200, 4e200])) == pytest.approx(5e200)
    assert norm(np.array([])) == 0
    assert norm(np.array([1.0, np.inf])) == math.inf
