"""The flaws are what they say: how each changes right gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlpcli.gradcheck import flaws
from mlpcli.nn.model import Model

Gradients = dict[str, np.ndarray]
N = 7


def gradients(name: str | None, dtype: Any = np.float64) -> Gradients:
    rng = np.random.default_rng(6)
    model = Model((40, 20, 10), "tanh", "squared_error", 12, dtype)
    model.network.params[...] = rng.standard_normal(model.network.params.size)
    X, Y = rng.standard_normal((N, 40)).astype(dtype), rng.standard_normal((N, 10)).astype(dtype)
    if name:
        flaws.named(name)(model)
    model.backward(model.forward(X), Y)
    return model.network.named_grads


def factors(name: str, dtype: Any = np.float64) -> Gradients:
    """Return by what each entry of each gradient is multiplied."""
    right, wrong = gradients(None, dtype), gradients(name, dtype)
    return {tensor: wrong[tensor] / right[tensor] for tensor in right}


@pytest.mark.parametrize(("name", "factor"), [("sign", -1.0), ("missing_mean", N)])
def test_a_flaw_of_the_error_multiplies_every_gradient(name: str, factor: float) -> None:
    for tensor, each in factors(name).items():
        np.testing.assert_allclose(each, factor, rtol=1e-9, err_msg=tensor)


def test_without_the_bias_gradients_the_others_are_right() -> None:
    for tensor, each in factors("missing_bias").items():
        assert (each == (0 if tensor[0] == "b" else 1)).all()


@pytest.mark.parametrize("name", ["missing_derivative", "transposed_weight"])
def test_a_flaw_of_a_layer_is_seen_below_it(name: str) -> None:
    found = factors(name)
    assert all((found[tensor] == 1).all() for tensor in ("W2", "b2"))
    assert all((abs(found[tensor] - 1) > 1e-3).mean() > 0.9 for tensor in ("W1", "b1"))


def test_the_largest_entry_of_the_first_column_is_doubled_and_no_other() -> None:
    found, right = factors("doubled_entry"), gradients(None)["W1"]
    largest = int(np.abs(right[:, 0]).argmax())
    assert largest not in (right[:, 0].argmax(), np.abs(right[:, 1]).argmax())
    assert found["W1"][largest, 0] == 2
    found["W1"][largest, 0] = 1
    assert all((each == 1).all() for each in found.values())


def test_noise_is_of_relative_size_1e_3_in_float32_alone() -> None:
    assert all((each == 1).all() for each in factors("float32_noise").values())
    found = factors("float32_noise", np.float32)
    assert all(each.dtype == np.float32 for each in found.values())
    for tensor, each in found.items():
        spread = 0.1 if each.size > 100 else 0.6  # of a standard deviation of so few
        assert abs(np.std(each - 1) / 1e-3 - 1) < spread, tensor
        assert abs(np.mean(each - 1)) < 1e-3
