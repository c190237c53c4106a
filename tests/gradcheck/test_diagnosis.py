"""The reason that is given of a wrong gradient."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mlpcli.gradcheck.diagnosis import Diagnosis
from mlpcli.nn.model import Model

AGREES = "a second backward pass agrees with it: the forward pass is not analytic"

Change = Callable[[np.ndarray], np.ndarray]


def model_and_batch(
    sizes: tuple[int, ...] = (6, 5, 4),
    n: int = 3,
    batch_size: int = 12,
    activation: str = "sigmoid",
) -> tuple[Model, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    model = Model(sizes, activation, "sigmoid_cross_entropy", batch_size, np.float64)
    model.network.params[...] = rng.standard_normal(model.network.params.size)
    X, Y = rng.standard_normal((n, sizes[0])), np.eye(sizes[-1])[rng.integers(sizes[-1], size=n)]
    model.backward(model.forward(X), Y)
    return model, X, Y


def with_entry(at: tuple[int, ...], value: float) -> Change:
    def change(g: np.ndarray) -> np.ndarray:
        g = g.copy()
        g[at] = value
        return g

    return change


def without(rows: object) -> Change:
    return with_entry(rows, 0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("W1", lambda g: g, AGREES),
        ("W1", lambda g: -g, "the sign is flipped: Y − Ŷ in place of Ŷ − Y"),
        ("b2", lambda g: 3 * g, "a factor n = 3: the mean over the batch is missing"),
        ("W2", lambda g: g / 3, "a factor 1/n = 1/3: the mean over the batch is taken twice"),
        (
            "W2",
            lambda g: g / 4,
            "a factor 3/12: divided by the buffer's examples, not the batch's",
        ),
        ("W2", lambda g: 2.5 * g, "a factor 2.5"),
        ("W1", lambda g: g * (1 + 5e-5), "a factor 1.00005"),
        ("b1", lambda g: 0 * g, "the bias gradient is missing"),
        ("W1", lambda g: 0 * g, "it is zero throughout"),
        ("W1", with_entry((2, 3), np.nan), "1 entries are not finite, the first at [2, 3]"),
        ("b1", with_entry((4,), np.inf), "1 entries are not finite, the first at [4]"),
        ("W1", without(2), "row 2 alone is wrong"),
        ("W1", without((slice(None), 1)), "column 1 alone is wrong"),
        ("W1", lambda g: np.ascontiguousarray(g.T).reshape(g.shape), "it is transposed"),
        ("b2", lambda g: g + np.array([1, 2, 3, 0]), "unknown: 3 of 4 entries are wrong"),
        ("W1", lambda g: g + np.arange(30).reshape(6, 5), "unknown: 29 of 30 entries are wrong"),
    ],
)
def test_the_reason_of_a_change(name: str, change: Change, reason: str) -> None:
    model, X, Y = model_and_batch()
    gradient = change(model.network.named_grads[name])
    assert Diagnosis(model, X, Y).explain(name, gradient) == reason


def test_one_wrong_entry_is_named_with_both_its_values() -> None:
    model, X, Y = model_and_batch()
    right = model.network.named_grads["W2"][1, 2]
    gradient = with_entry((1, 2), 2 * right)(model.network.named_grads["W2"])
    assert Diagnosis(model, X, Y).explain("W2", gradient) == (
        f"one entry of 20 is wrong: [1, 2] is {2 * right:.6g}, should be {right:.6g}"
    )


def test_a_missing_derivative_and_a_matrix_that_is_not_transposed_are_told_apart() -> None:
    model, X, Y = model_and_batch()
    diagnosis, W2 = Diagnosis(model, X, Y), model.network.named_params["W2"]
    T = model.forward(X).copy()
    G2, Z = model.criterion.backward(T, Y).copy(), model.network.layers[1].Z.copy()
    underived, untransposed = X.T @ (G2 @ W2.T), X.T @ (G2 @ W2.reshape(4, 5) * Z * (1 - Z))
    assert diagnosis.explain("W1", underived) == "the activation's derivative is missing"
    assert diagnosis.explain("W1", untransposed) == (
        "an error was sent back through a weight matrix that is not transposed"
    )


def test_a_difference_too_small_to_be_placed_is_unknown() -> None:
    model, X, Y = model_and_batch()
    gradient = model.network.named_grads["W1"].copy()
    gradient[0] *= 1 + 3e-6
    gradient[1, 1] *= 1 - 3e-6
    found = Diagnosis(model, X, Y).explain("W1", gradient)
    assert found.startswith(("a factor 1", "unknown", "a second backward pass"))


def test_a_unit_that_is_0_hides_no_factor_and_no_wrong_entry() -> None:
    model, X, Y = model_and_batch(activation="relu")
    model.network.named_params["b1"][:2] = -100.0  # two units that are never above 0
    model.backward(model.forward(X), Y)
    gradient = model.network.named_grads["W1"]
    assert Diagnosis(model, X, Y).explain("W1", 2.5 * gradient) == "a factor 2.5"
    model.network.named_params["b1"][:] = -100.0
    found = Diagnosis(model, X, Y).explain("W1", with_entry((1, 2), 0.5)(0 * gradient))
    assert found == "one entry of 30 is wrong: [1, 2] is 0.5, should be 0"


def test_entries_are_wrong_by_a_share_of_the_largest() -> None:
    right = np.array([[3.0, 40.0], [-5000.0, 0.01]])
    noise = np.array([[2e-6, 0.0], [0.0, 2e-6]])  # 4e-10 of the largest
    model, X, Y = model_and_batch()
    found = Diagnosis(model, X, Y)
    found.right = found.underived = found.transposed = {"W1": right}
    some = found.explain("W1", right + noise + [[0.0, 0.1], [5e-4, 0.0]])  # 2e-5 and 1e-7 of it
    assert some == "unknown: 2 of 4 entries are wrong"
    assert "row 0" in found.explain("W1", right + noise + [[0.1, 0.1], [0.0, 0.0]])


def test_a_gradient_that_is_only_near_a_hypothesis_does_not_confirm_it() -> None:
    model, X, Y = model_and_batch()
    found = Diagnosis(model, X, Y)
    underived = found.underived["W1"]
    other = np.zeros_like(underived)
    other[0, 0] = 1.5e-6 * np.linalg.norm(underived)
    assert "derivative is missing" in found.explain("W1", underived + 0.5 * other)
    assert "derivative is missing" not in found.explain("W1", underived + other)
