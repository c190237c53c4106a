"""Activations: their values, and no overflow however far the input."""

from __future__ import annotations

import numpy as np
import pytest

from mlpcli.nn.activations import ACTIVATIONS

KNOWN = {
    "sigmoid": lambda t: 1 / (1 + np.exp(-t)),
    "tanh": np.tanh,
    "relu": lambda t: np.where(t > 0, t, 0),
    "gelu": lambda t: t / (1 + np.exp(-2 * np.sqrt(2 / np.pi) * (t + 0.044715 * t**3))),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values(name: str) -> None:
    T = np.linspace(-8, 8, 33).reshape(3, 11)
    np.testing.assert_allclose(
        ACTIVATIONS[name](3, 11, np.float64).forward(T), KNOWN[name](T), rtol=1e-12, atol=1e-15
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_far_inputs_stay_finite_in_every_dtype(name: str, dtype: type) -> None:
    layer = ACTIVATIONS[name](1, 4, dtype)
    Z = layer.forward(np.array([[-1e4, -50, 50, 1e4]], dtype))
    assert np.isfinite(Z).all()
    assert np.isfinite(layer.backward(np.ones((1, 4), dtype))).all()
    assert Z.dtype == dtype


def test_relu_is_off_at_its_kink_for_both_methods() -> None:
    layer = ACTIVATIONS["relu"](1, 1, np.complex128)
    assert layer.forward(np.array([[1e-30j]]))[0, 0].imag == 0
    assert layer.backward(np.ones((1, 1), np.complex128))[0, 0] == 0
