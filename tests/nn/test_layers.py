"""The dense layer: by hand, and what the first one skips."""

from __future__ import annotations

import numpy as np

from mlpcli.nn.layers import Dense


def dense(*, input_gradient: bool) -> Dense:
    W, b = np.array([[1.0, 2, 3], [4, 5, 6]]), np.array([10.0, 20, 30])
    return Dense(W, b, np.empty((2, 3)), np.empty(3), 4, input_gradient=input_gradient)


def test_forward_and_backward_by_hand() -> None:
    layer = dense(input_gradient=True)
    X, G = np.array([[1.0, 0], [0, 1], [1, 1]]), np.array([[1.0, 0, 0], [0, 2, 0], [0, 0, -1]])
    np.testing.assert_array_equal(layer.forward(X), [[11, 22, 33], [14, 25, 36], [15, 27, 39]])
    np.testing.assert_array_equal(layer.backward(G), [[1, 4], [4, 10], [-3, -6]])
    np.testing.assert_array_equal(layer.dW, [[1, 0, -1], [0, 2, -1]])
    np.testing.assert_array_equal(layer.db, [1, 2, -1])


def test_the_first_layer_computes_no_gradient_of_its_inputs() -> None:
    one, other = dense(input_gradient=True), dense(input_gradient=False)
    X, G = np.ones((3, 2)), np.arange(9.0).reshape(3, 3)
    for layer in (one, other):
        layer.forward(X)
    assert one.backward(G).shape == (3, 2)
    assert other.backward(G).size == 0
    np.testing.assert_array_equal(other.dW, one.dW)
    np.testing.assert_array_equal(other.db, one.db)
