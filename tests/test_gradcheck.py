"""The gradient check: passes what is right, and catches each way to be wrong."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mlpcli.gradcheck import check_network, relative_error
from mlpcli.nn.activations import Sigmoid
from mlpcli.nn.layers import Dense
from mlpcli.nn.losses import SigmoidCrossEntropy
from mlpcli.nn.network import Network

Patch = pytest.MonkeyPatch


def wrong_tensors() -> set[str]:
    rng = np.random.default_rng(0)
    network = Network((40, 12, 10), "sigmoid", 8, np.float64)
    network.params[...] = 0.3 * rng.standard_normal(network.params.size)
    X, Y = rng.standard_normal((8, 40)), np.eye(10)[rng.integers(10, size=8)]
    loss = SigmoidCrossEntropy(8, 10, np.float64)
    return {check.name for check in check_network(network, loss, X, Y, rng) if not check.passed}


def after_backward(patch: Patch, change: Callable[[Dense], object]) -> None:
    right = Dense.backward

    def wrong(self: Dense, G: np.ndarray) -> np.ndarray:
        result = right(self, G)
        change(self)
        return result

    patch.setattr(Dense, "backward", wrong)


def double_one_entry(layer: Dense) -> None:
    layer.dW[3, 5] *= 2


def drop_biases(layer: Dense) -> None:
    layer.db[...] = 0


def test_right_gradients_pass() -> None:
    assert wrong_tensors() == set()


def test_the_notes_sign_is_caught_everywhere(monkeypatch: Patch) -> None:
    right = SigmoidCrossEntropy.backward
    monkeypatch.setattr(SigmoidCrossEntropy, "backward", lambda *args: -right(*args))
    assert wrong_tensors() == {"W1", "b1", "W2", "b2"}


def test_a_missing_mean_over_the_batch_is_caught(monkeypatch: Patch) -> None:
    right = SigmoidCrossEntropy.backward
    monkeypatch.setattr(SigmoidCrossEntropy, "backward", lambda *args: 8 * right(*args))
    assert wrong_tensors() == {"W1", "b1", "W2", "b2"}


def test_a_missing_derivative_of_the_sigmoid_is_caught_below_it(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Sigmoid, "backward", lambda self, G: G)
    assert wrong_tensors() == {"W1", "b1"}


def test_a_dropped_bias_gradient_is_caught(monkeypatch: Patch) -> None:
    after_backward(monkeypatch, drop_biases)
    assert wrong_tensors() == {"b1", "b2"}


def test_one_doubled_entry_is_caught_by_the_direction(monkeypatch: Patch) -> None:
    after_backward(monkeypatch, double_one_entry)
    assert wrong_tensors() == {"W1", "W2"}


def test_noise_of_a_billionth_is_caught(monkeypatch: Patch) -> None:
    noise = np.random.default_rng(1)
    after_backward(
        monkeypatch, lambda layer: layer.dW.__imul__(1 + 1e-9 * noise.normal(size=layer.dW.shape))
    )
    assert wrong_tensors() == {"W1", "W2"}


@pytest.mark.parametrize(
    ("a", "b", "error"),
    [([0], [0], 0), ([1], [0], 1), ([1, 1], [1, -1], 2**0.5), ([np.nan], [1], np.inf)],
)
def test_relative_error(a: list[float], b: list[float], error: float) -> None:
    assert relative_error(np.array(a, float), np.array(b, float)) == pytest.approx(error)
