"""The network: flat memory with named views, and gradients that hold for every shape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpcli.gradcheck.check import relative_error
from mlpcli.nn.activations import ACTIVATIONS
from mlpcli.nn.initializers import INITIALIZERS
from mlpcli.nn.losses import LOSSES
from mlpcli.nn.network import Network


def random_problem(
    network: Network, batch: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    network.params[...] = 0.5 * rng.standard_normal(network.params.size)
    D, K = network.layer_sizes[0], network.layer_sizes[-1]
    X = rng.standard_normal((batch, D)).astype(network.params.dtype)
    return X, np.eye(K, dtype=network.params.dtype)[rng.integers(K, size=batch)]


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=5),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    loss=st.sampled_from(sorted(LOSSES)),
    batch=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_gradient_is_proven_in_random_networks(
    sizes: list[int], activation: str, loss: str, batch: int, seed: int
) -> None:
    """Every entry, by the complex step alone: Im L(p + ih)/h."""
    rng = np.random.default_rng(seed)
    network = Network(sizes, activation, batch, np.float64)
    X, Y = random_problem(network, batch, rng)
    owner = LOSSES[loss](batch, sizes[-1], np.float64)
    network.backward(owner.backward(network.forward(X), Y))
    shadow, h = Network(sizes, activation, batch, np.complex128), 1e-30
    shadow_loss = LOSSES[loss](batch, sizes[-1], np.complex128)
    slopes = np.empty_like(network.params)
    for k in range(len(slopes)):
        shadow.params[...] = network.params
        shadow.params[k] += 1j * h
        slopes[k] = shadow_loss.forward(shadow.forward(X), Y).imag / h
    assert relative_error(network.grads, slopes) < 1e-13


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_float32_gradients_are_those_of_float64_to_rounding(activation: str, loss: str) -> None:
    gradients = []
    for dtype in (np.float64, np.float32):
        network = Network((30, 20, 10), activation, 8, dtype)
        X, Y = random_problem(network, 8, np.random.default_rng(1))
        owner = LOSSES[loss](8, 10, dtype)
        network.backward(owner.backward(network.forward(X), Y))
        gradients.append(network.grads.astype(np.float64))
    assert relative_error(*gradients) < 1e-6


def test_the_notes_single_example_formulas() -> None:
    """dW2 = z₁ᵀ(ŷ−y), db2 = ŷ−y, dW1 = xᵀ[((ŷ−y) W2ᵀ) ∘ z₁ ∘ (1−z₁)], written out anew."""
    rng = np.random.default_rng(2)
    network = Network((7, 5, 3), "sigmoid", 1, np.float64)
    x, y = random_problem(network, 1, rng)
    W1, b1, W2, b2 = (network.parameters[name].copy() for name in ("W1", "b1", "W2", "b2"))
    z = 1 / (1 + np.exp(-(x @ W1 + b1)))
    yhat = 1 / (1 + np.exp(-(z @ W2 + b2)))
    back = ((yhat - y) @ W2.T) * z * (1 - z)
    expected = {"W1": x.T @ back, "b1": back[0], "W2": z.T @ (yhat - y), "b2": (yhat - y)[0]}

    loss = LOSSES["sigmoid_cross_entropy"](1, 3, np.float64)
    network.backward(loss.backward(network.forward(x), y))
    for name, gradient in network.gradients.items():
        np.testing.assert_allclose(gradient, expected[name], rtol=1e-12)


def test_the_notes_sign_climbs_the_loss() -> None:
    rng = np.random.default_rng(3)
    network = Network((7, 5, 3), "sigmoid", 16, np.float64)
    X, Y = random_problem(network, 16, rng)
    loss = LOSSES["sigmoid_cross_entropy"](16, 3, np.float64)

    def value_after(step: float) -> float:
        network.params += step * network.grads
        value = loss.forward(network.forward(X), Y)
        network.params -= step * network.grads
        return value

    network.backward(loss.backward(network.forward(X), Y))
    assert value_after(-1e-3) < value_after(0) < value_after(+1e-3)


def test_names_are_views_of_one_vector_weights_first() -> None:
    network = Network((4, 3, 2), batch_size=1)
    assert list(network.parameters) == ["W1", "b1", "W2", "b2"]
    assert [view.shape for view in network.parameters.values()] == [(4, 3), (3,), (3, 2), (2,)]
    network.params[...] = np.arange(network.params.size)
    assert network.parameters["W2"][0, 0] == 12
    assert network.parameters["b1"][0] == 18
    assert network.weights.size == 18
    for view in (*network.parameters.values(), *network.gradients.values()):
        assert view.base is not None
    network.weights[...] = 0
    assert not network.parameters["W1"].any()
    assert network.parameters["b1"].all()


def test_a_short_batch_gives_what_a_network_of_its_size_gives() -> None:
    results = []
    for capacity in (3, 128):
        network = Network((6, 5, 4), "tanh", capacity, np.float64)
        X, Y = random_problem(network, 3, np.random.default_rng(4))
        loss = LOSSES["softmax_cross_entropy"](capacity, 4, np.float64)
        network.backward(loss.backward(network.forward(X), Y))
        results.append(network.grads.copy())
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(
    ("name", "variance"), [("glorot", 2 / 400), ("he", 2 / 300), ("lecun", 1 / 300)]
)
def test_initial_weights_have_their_variance_and_biases_are_zero(
    name: str, variance: float
) -> None:
    network = Network((300, 100), batch_size=1, dtype=np.float64)
    network.initialize(name, np.random.default_rng(0))
    assert network.parameters["W1"].var() == pytest.approx(variance, rel=0.03)
    assert not network.parameters["b1"].any()
    assert set(INITIALIZERS) == {"glorot", "he", "lecun"}
