"""The network: flat memory with named views, and gradients that hold for every shape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpcli.gradcheck.numerical import relative_error
from mlpcli.nn.activations import ACTIVATIONS
from mlpcli.nn.initializers import INITIALIZERS
from mlpcli.nn.losses import LOSSES
from mlpcli.nn.model import Model
from mlpcli.nn.network import Network


def random_problem(
    model: Model, batch: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    network = model.network
    network.params[...] = 0.5 * rng.standard_normal(network.params.size)
    D, K = network.layer_sizes[0], network.layer_sizes[-1]
    X = rng.standard_normal((batch, D)).astype(network.params.dtype)
    return X, np.eye(K, dtype=network.params.dtype)[rng.integers(K, size=batch)]


@settings(max_examples=50)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=5),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    loss=st.sampled_from(sorted(LOSSES)),
    batch=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_gradient_agrees_with_the_complex_step(
    sizes: list[int], activation: str, loss: str, batch: int, seed: int
) -> None:
    """Every entry, by the complex step alone: Im L(p + ih)/h."""
    rng = np.random.default_rng(seed)
    model = Model(sizes, activation, loss, batch, np.float64)
    X, Y = random_problem(model, batch, rng)
    model.backward(model.forward(X), Y)
    in_complex, h = model.in_dtype(np.complex128, batch), 1e-30
    slopes = np.empty_like(model.network.params)
    for k in range(len(slopes)):
        in_complex.network.params[k] += 1j * h
        slopes[k] = in_complex.loss(in_complex.forward(X), Y).imag / h
        in_complex.network.params[k] = model.network.params[k]
    assert relative_error(model.network.grads, slopes) < 1e-13


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_float32_gradients_are_those_of_float64_to_rounding(activation: str, loss: str) -> None:
    gradients = []
    for dtype in (np.float64, np.float32):
        model = Model((30, 20, 10), activation, loss, 8, dtype)
        X, Y = random_problem(model, 8, np.random.default_rng(1))
        model.backward(model.forward(X), Y)
        gradients.append(model.network.grads.astype(np.float64))
    assert relative_error(*gradients) < 1e-6


def test_the_notes_single_example_formulas() -> None:
    """dW2 = z₁ᵀ(ŷ−y), db2 = ŷ−y, dW1 = xᵀ[((ŷ−y) W2ᵀ) ∘ z₁ ∘ (1−z₁)], written out anew."""
    rng = np.random.default_rng(2)
    model = Model((7, 5, 3), batch_size=1, dtype=np.float64)
    x, y = random_problem(model, 1, rng)
    W1, b1, W2, b2 = (model.network.named_params[name].copy() for name in ("W1", "b1", "W2", "b2"))
    z = 1 / (1 + np.exp(-(x @ W1 + b1)))
    yhat = 1 / (1 + np.exp(-(z @ W2 + b2)))
    back = ((yhat - y) @ W2.T) * z * (1 - z)
    expected = {"W1": x.T @ back, "b1": back[0], "W2": z.T @ (yhat - y), "b2": (yhat - y)[0]}

    model.backward(model.forward(x), y)
    for name, gradient in model.network.named_grads.items():
        np.testing.assert_allclose(gradient, expected[name], rtol=1e-12)


def test_the_notes_sign_climbs_the_loss() -> None:
    rng = np.random.default_rng(3)
    model = Model((7, 5, 3), batch_size=16, dtype=np.float64)
    network = model.network
    X, Y = random_problem(model, 16, rng)

    def value_after(step: float) -> float:
        network.params += step * network.grads
        value = model.loss(model.forward(X), Y)
        network.params -= step * network.grads
        return value

    model.backward(model.forward(X), Y)
    assert value_after(-1e-3) < value_after(0) < value_after(+1e-3)


def test_names_are_views_of_one_vector_weights_first() -> None:
    network = Network((4, 3, 2), batch_size=1)
    assert list(network.named_params) == ["W1", "b1", "W2", "b2"]
    assert [view.shape for view in network.named_params.values()] == [(4, 3), (3,), (3, 2), (2,)]
    network.params[...] = np.arange(network.params.size)
    assert network.named_params["W2"][0, 0] == 12
    assert network.named_params["b1"][0] == 18
    assert network.weights.size == 18
    for view in (*network.named_params.values(), *network.named_grads.values()):
        assert view.base is not None
    network.weights[...] = 0
    assert not network.named_params["W1"].any()
    assert network.named_params["b1"].all()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_short_batch_gives_what_a_network_of_its_size_gives(activation: str, loss: str) -> None:
    results = []
    for capacity in (3, 128):
        model = Model((6, 5, 4), activation, loss, capacity, np.float64)
        X, Y = random_problem(model, 3, np.random.default_rng(4))
        model.backward(model.forward(X), Y)
        results.append(model.network.grads.copy())
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(
    ("name", "variance"), [("glorot", 2 / 400), ("he", 2 / 300), ("lecun", 1 / 300)]
)
def test_initial_weights_have_their_variance_and_biases_are_zero(
    name: str, variance: float
) -> None:
    network = Network((300, 100, 7), batch_size=1, dtype=np.float64)
    network.params[...] = 1
    network.initialize(name, np.random.default_rng(0))
    assert network.named_params["W1"].var() == pytest.approx(variance, rel=0.03)
    assert network.named_params["W1"].mean() == pytest.approx(0, abs=3e-3)
    assert not network.named_params["b1"].any()
    assert not network.named_params["b2"].any()
    assert set(INITIALIZERS) == {"glorot", "he", "lecun"}


def test_glorot_is_uniform_and_the_others_are_normal() -> None:
    """The fourth moment over the square of the second: 9/5 and 3."""
    rng = np.random.default_rng(0)
    for name, kurtosis in (("glorot", 1.8), ("he", 3), ("lecun", 3)):
        W = INITIALIZERS[name](300, 100, rng)
        assert W.mean() == pytest.approx(0, abs=3e-3)
        assert (W**4).mean() / (W**2).mean() ** 2 == pytest.approx(kurtosis, rel=0.05)


def test_a_new_network_is_zero_and_takes_up_to_128_examples() -> None:
    for made in (Model((3, 2)), Network((3, 2))):
        network = made.network if isinstance(made, Model) else made
        assert not network.params.any()
        assert not network.grads.any()
        assert made.forward(np.ones((128, 3), np.float32)).shape == (128, 2)
        with pytest.raises(ValueError):
            made.forward(np.ones((129, 3), np.float32))


def test_the_first_layer_alone_skips_the_gradient_of_its_inputs() -> None:
    network = Network((3, 4, 4, 2), batch_size=1)
    X = network.forward(np.ones((1, 3), np.float32))
    sizes = []
    for layer in reversed(network.layers):
        X = layer.backward(X)
        sizes.append(X.size)
    assert sizes == [4, 4, 4, 4, 0]


def test_a_model_in_another_dtype_is_the_same_function() -> None:
    model = Model((6, 5, 4), "gelu", "softmax_cross_entropy", 3, np.float64)
    X, Y = random_problem(model, 3, np.random.default_rng(5))
    for dtype, tolerance in ((np.float32, 1e-6), (np.complex128, 1e-15)):
        other = model.in_dtype(dtype, 8)
        assert other.network.params.dtype == dtype
        T = other.forward(X.astype(dtype))
        np.testing.assert_allclose(T, model.forward(X), rtol=100 * tolerance)
        np.testing.assert_allclose(other.probs(T), model.probs(T.real), rtol=100 * tolerance)
        assert other.loss(T, Y) == pytest.approx(model.loss(model.forward(X), Y), rel=tolerance)
