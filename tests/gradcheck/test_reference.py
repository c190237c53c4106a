"""The second backward pass, and how far rounding moves a gradient."""

from __future__ import annotations

import numpy as np
import pytest

from mlpcli.gradcheck.numerical import norm, relative_error
from mlpcli.gradcheck.reference import (
    NOISE,
    backward,
    forward,
    loss_slopes,
    rounding,
    term_sizes,
)
from mlpcli.nn.activations import ACTIVATIONS
from mlpcli.nn.losses import LOSSES
from mlpcli.nn.model import Model

Problem = tuple[Model, np.ndarray, np.ndarray]


def problem(
    activation: str, loss: str, sizes: tuple[int, ...], scale: float = 1.0, n: int = 4
) -> Problem:
    rng = np.random.default_rng(0)
    model = Model(sizes, activation, loss, n, np.float64)
    params = scale * rng.standard_normal(model.network.params.size)
    model.network.params[...] = params.astype(np.float32)
    X = rng.standard_normal((n, sizes[0])).astype(np.float32).astype(np.float64)
    return model, X, np.eye(sizes[-1])[rng.integers(sizes[-1], size=n)]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_the_second_backward_pass_agrees_with_the_complex_step(activation: str, loss: str) -> None:
    model, X, Y = problem(activation, loss, (6, 5, 4, 3))
    network = model.network
    done = forward(network, X)
    np.testing.assert_allclose(done.T[-1], model.forward(X), rtol=1e-12)
    assert (len(done.Z), len(done.T), len(done.slopes)) == (3, 3, 2)
    G = loss_slopes(LOSSES[loss], done.T[-1], Y)
    in_complex = model.in_dtype(np.complex128, 4)
    for name, gradient in backward(network, done, G).items():
        slopes = np.empty_like(gradient)
        for index in np.ndindex(*gradient.shape):
            in_complex.network.params[...] = network.params
            in_complex.network.named_params[name][index] += 1e-30j
            slopes[index] = in_complex.loss(in_complex.forward(X), Y).imag / 1e-30
        assert relative_error(gradient.ravel(), slopes.ravel()) < 1e-13


def test_its_flaws_are_those_of_the_chain_rule_without_a_factor() -> None:
    model, X, Y = problem("tanh", "squared_error", (6, 4, 4, 3))
    P, done = model.network.named_params, forward(model.network, X)
    G3 = loss_slopes(LOSSES["squared_error"], done.T[-1], Y)
    Z2 = np.tanh(np.tanh(X @ P["W1"] + P["b1"]) @ P["W2"] + P["b2"])
    underived = backward(model.network, done, G3, derivative=False)
    np.testing.assert_allclose(underived["b2"], (G3 @ P["W3"].T).sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(underived["b1"], (G3 @ P["W3"].T @ P["W2"].T).sum(axis=0))
    transposed = backward(model.network, done, G3, transposed=True)
    back = G3 @ P["W3"].reshape(3, 4) * (1 - Z2**2)
    np.testing.assert_allclose(transposed["b2"], back.sum(axis=0), rtol=1e-9)
    np.testing.assert_allclose(transposed["W3"], Z2.T @ G3, rtol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("scale", [0.3, 1.5, 4.0])
def test_the_estimate_is_the_size_of_real_rounding(
    activation: str, loss: str, scale: float
) -> None:
    """In float32, whose errors can be seen beside float64."""
    model, X, Y = problem(activation, loss, (12, 9, 8, 5), scale, n=16)
    single = model.in_dtype(np.float32, 16)
    single.backward(single.forward(X.astype(np.float32)), Y.astype(np.float32))
    model.backward(model.forward(X), Y)
    estimates = rounding(model, X, Y, np.random.default_rng(0))
    for name, gradient in model.network.named_grads.items():
        error = norm(single.network.named_grads[name].astype(np.float64) - gradient)
        estimate = float(np.finfo(np.float32).eps) * norm(estimates[name])
        assert error / 8 < estimate < max(100 * error, 1e-6 * norm(gradient)), name


def test_where_nothing_is_summed_nothing_is_rounded() -> None:
    model, X, Y = problem("sigmoid", "sigmoid_cross_entropy", (6, 5, 3))
    estimates = rounding(model, 0 * X, Y, np.random.default_rng(0))
    assert not estimates["W1"].any()
    assert all(estimates[name].all() for name in ("b1", "W2", "b2"))


def test_a_probability_near_1_is_rounded_as_1_is() -> None:
    model, X, _ = problem("sigmoid", "sigmoid_cross_entropy", (6, 3))
    model.network.params[...] = 0
    model.network.named_params["b1"][...] = 60
    estimates = rounding(model, X, np.ones((4, 3)), np.random.default_rng(0))
    assert 0.1 < norm(estimates["b1"]) / np.sqrt(3 / 4) < 3  # 4 errors of 1/4, in each of 3 sums


def test_a_sum_that_cancels_is_rounded_as_its_terms_are() -> None:
    model, _, Y = problem("sigmoid", "squared_error", (2, 1), n=1)
    model.network.params[...] = [1e6, -1e6, 0]
    estimates = rounding(model, np.ones((1, 2)), Y[:, :1], np.random.default_rng(0))
    logit = np.hypot(1e6, 1e6)  # how far the logit, 0, is rounded; (ŷ − y)σ′ by 1/16 of that
    assert 0.3 < estimates["b1"][0] / (logit / 16) < 3


def test_noise_is_of_the_size_of_what_is_rounded() -> None:
    model, X, _ = problem("sigmoid", "squared_error", (2, 2000, 1))
    model.network.named_params["b1"][...] = -20  # σ is 0, but computed as ½ − ½
    exact = forward(model.network, 0 * X)
    noisy = forward(model.network, 0 * X, np.random.default_rng(0))
    assert 18 < np.std(noisy.T[0] - exact.T[0]) / NOISE < 22
    assert 0.9 < np.std(noisy.Z[1] - exact.Z[1]) / NOISE < 1.1
    assert 0.9 < np.std(noisy.slopes[0] - exact.slopes[0]) / NOISE < 1.1


def test_the_size_of_what_an_activation_is_summed_from() -> None:
    T = np.array([[-20.0, -4.0, -0.5, 0.5, 4.0, 20.0]])
    sigmoid = 1 / (1 + np.exp(-T))
    values, slopes = term_sizes("sigmoid", T, sigmoid)  # ½ tanh + ½, of which the first cancels
    np.testing.assert_allclose(values, [[1, 1, 0.5, 0.622459, 1, 1]], rtol=1e-5)
    np.testing.assert_array_equal(slopes, np.ones((1, 6)))
    values, slopes = term_sizes("gelu", T, T * sigmoid)  # 1 + tanh is 0 from about −8 on
    np.testing.assert_allclose(values, [[4, 2, 0.25, 0.311230, 3.928055, 20]], rtol=1e-5)
    np.testing.assert_allclose(slopes, [[32, 4, 1, 1, 4, 32]])


def test_noise_is_independent_from_sample_to_sample() -> None:
    model, X, _ = problem("gelu", "squared_error", (6, 5, 3))
    exact, rng = forward(model.network, X), np.random.default_rng(0)
    one, two = (forward(model.network, X, rng).T[-1] - exact.T[-1] for _ in range(2))
    assert 0.1 < np.abs(one).max() / NOISE < 100
    assert abs(float(np.corrcoef(one.ravel(), two.ravel())[0, 1])) < 0.9


@pytest.mark.parametrize("loss", LOSSES)
def test_the_slopes_of_a_loss_are_those_of_its_backward_pass(loss: str) -> None:
    model, X, Y = problem("tanh", loss, (6, 3))
    T = model.forward(X).copy()
    np.testing.assert_allclose(
        loss_slopes(LOSSES[loss], T, Y), model.criterion.backward(T, Y), rtol=1e-12
    )
