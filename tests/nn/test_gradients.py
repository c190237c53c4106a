"""Gradients: what must hold of them whatever the formula, and 50 digits to compare them with."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from mlpcli.nn.losses import LOSSES
from mlpcli.nn.model import Model
from mlpcli.nn.network import Network


def gradients(network: Network, loss: str, X: np.ndarray, Y: np.ndarray) -> dict[str, np.ndarray]:
    """Return the gradients of a model with this network's parameters."""
    sizes, params = network.layer_sizes, network.params
    model = Model(sizes, network.activation, loss, len(X), params.dtype)
    model.network.params[...] = params
    model.backward(model.forward(X), Y)
    return model.network.named_grads


def small_network(n: int, dtype: type = np.float64) -> tuple[Network, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n)
    network = Network((7, 5, 3), batch_size=n, dtype=dtype)
    network.params[...] = rng.standard_normal(network.params.size)
    X, Y = (
        rng.standard_normal((n, 7)).astype(dtype),
        np.eye(3, dtype=dtype)[rng.integers(3, size=n)],
    )
    return network, X, Y


def test_a_batch_gradient_is_the_mean_of_single_ones() -> None:
    network, X, Y = small_network(6)
    whole = gradients(network, "sigmoid_cross_entropy", X, Y)
    singles = [
        gradients(network, "sigmoid_cross_entropy", X[i : i + 1], Y[i : i + 1]) for i in range(6)
    ]
    for name, gradient in whole.items():
        mean = np.mean([single[name] for single in singles], axis=0)
        np.testing.assert_allclose(gradient, mean, rtol=1e-12, atol=1e-15)


def test_duplicated_examples_change_nothing() -> None:
    network, X, Y = small_network(6)
    once = gradients(network, "sigmoid_cross_entropy", X[:3], Y[:3])
    twice = gradients(
        network, "sigmoid_cross_entropy", np.vstack([X[:3], X[:3]]), np.vstack([Y[:3], Y[:3]])
    )
    for name, gradient in once.items():
        np.testing.assert_allclose(twice[name], gradient, rtol=1e-12, atol=1e-16)


def test_inputs_of_zero_move_the_biases_alone() -> None:
    network, X, Y = small_network(4)
    found = gradients(network, "sigmoid_cross_entropy", 0 * X, Y)
    assert not found["W1"].any()
    assert found["b1"].all()


def exact_gradients(network: Network, X: np.ndarray, Y: np.ndarray) -> dict[str, np.ndarray]:
    """Sigmoid cross-entropy's gradients in 50 digits, by differences of its loss."""
    flat = [mpmath.mpf(float(p)) for p in network.params]
    positions = np.arange(network.params.size)
    probe = Network(network.layer_sizes, batch_size=1, dtype=np.float64)
    probe.params[...] = positions
    places = {name: view.astype(int) for name, view in probe.named_params.items()}

    def layer(inputs: list[mpmath.mpf], i: int) -> list[mpmath.mpf]:
        W, b = places[f"W{i}"], places[f"b{i}"]
        return [
            flat[b[k]] + mpmath.fsum(z * flat[W[j, k]] for j, z in enumerate(inputs))
            for k in range(W.shape[1])
        ]

    def value() -> mpmath.mpf:
        total = mpmath.mpf(0)
        for x, y in zip(X, Y, strict=True):
            z = [mpmath.mpf(float(v)) for v in x]
            for i in range(1, len(network.layer_sizes) - 1):
                z = [1 / (1 + mpmath.exp(-t)) for t in layer(z, i)]
            for t, target in zip(layer(z, len(network.layer_sizes) - 1), y, strict=True):
                total += mpmath.log(1 + mpmath.exp(-t)) if target else mpmath.log(1 + mpmath.exp(t))
        return total / len(X)

    h, slopes = mpmath.mpf(10) ** -17, np.empty(network.params.size)
    for k, before in enumerate(flat):
        flat[k] = before + h
        above = value()
        flat[k] = before - h
        slopes[k] = float((above - value()) / (2 * h))
        flat[k] = before
    return {name: slopes[place] for name, place in places.items()}


@pytest.mark.parametrize(
    ("sizes", "scale"), [((3, 1), 1), ((3, 4, 2), 1), ((2, 3, 2, 2), 3), ((3, 2), 40)]
)
def test_gradients_are_those_of_50_digits(sizes: tuple[int, ...], scale: float) -> None:
    rng = np.random.default_rng(0)
    network = Network(sizes, batch_size=2, dtype=np.float64)
    network.params[...] = scale * rng.standard_normal(network.params.size)
    X, Y = rng.standard_normal((2, sizes[0])), np.eye(sizes[-1])[rng.integers(sizes[-1], size=2)]
    found = gradients(network, "sigmoid_cross_entropy", X, Y)
    with mpmath.workdps(50):
        expected = exact_gradients(network, X, Y)
    for name, gradient in found.items():
        scale_of = np.abs(expected[name]).max()
        np.testing.assert_allclose(gradient, expected[name], rtol=1e-9, atol=1e-14 * scale_of)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", LOSSES)
def test_far_logits_give_the_gradient_that_they_have(loss: str, dtype: type) -> None:
    """At ±1e4 every probability is 0 or 1: the error is 0 or ±1 a class, and exactly so."""
    network = Network((1, 2), batch_size=1, dtype=dtype)
    network.named_params["W1"][...] = [[1e4, -1e4]]
    X = np.ones((1, 1), dtype)
    for label, error in ((0, [0, 0]), (1, [1, -1])):
        Y = np.eye(2, dtype=dtype)[[label]]
        expected = [0, 0] if loss == "squared_error" else error
        np.testing.assert_array_equal(gradients(network, loss, X, Y)["b1"], expected)
