"""The steps of docs/note.md: each is proved with SymPy, then the code is compared with it.

A proof is exact, with symbols. What is compared with the code are the same expressions at a point
of dyadic coordinates, which float64 holds exactly.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy as sp
from conftest import ROOT
from sympy import I, Rational, exp, log, symbols

from mlpcli.gradcheck import explain
from mlpcli.gradcheck.numerical import Derivatives
from mlpcli.nn.activations import Sigmoid, sigmoid
from mlpcli.nn.layers import Dense
from mlpcli.nn.losses import SigmoidCrossEntropy, SquaredError
from mlpcli.nn.model import Model
from mlpcli.nn.network import Network


class sigma(sp.Function):
    """The sigmoid with its derivative, which S2 proves."""

    def fdiff(self, _: int = 1) -> sp.Expr:
        return self * (1 - self)

    def _eval_rewrite_as_exp(self, t: sp.Expr, **_: Any) -> sp.Expr:
        return 1 / (1 + exp(-t))


def cross_entropy(yhat: sp.Expr, y: sp.Expr) -> sp.Expr:
    return -y * log(yhat) - (1 - y) * log(1 - yhat)


def squared_error(yhat: sp.Expr, y: sp.Expr) -> sp.Expr:
    return (yhat - y) ** 2 / 2


def prove_equal(left: Any, right: Any) -> None:
    """Prove that two expressions, or two matrices of them, are equal: as functions of all symbols.

    Sigmoids are replaced by symbols, inner ones first; what is left is a rational function, most
    often a polynomial.
    """
    difference = sp.Matrix([left - right])
    while sigmoids := difference.atoms(sigma):
        inner = {s: sp.Dummy() for s in sigmoids if not s.args[0].has(sigma)}
        difference = difference.xreplace(inner)
    assert all(sp.expand(d) == 0 or sp.cancel(sp.together(d)) == 0 for d in difference)


def derivative(L: sp.Expr, by: sp.Matrix) -> sp.Matrix:
    return by.applyfunc(lambda entry: sp.diff(L, entry))


# A network with one hidden layer, as symbols: n = 2 examples, D = 3, H = 2, K = 4.
SIZES, n = (3, 2, 4), 2


def matrix(name: str, rows: int, columns: int) -> sp.Matrix:
    return sp.Matrix(rows, columns, lambda i, j: sp.Symbol(f"{name}_{i}{j}", real=True))


X, Y = matrix("x", 2, 3), matrix("y", 2, 4)
W1, b1, W2, b2 = matrix("u", 3, 2), matrix("a", 1, 2), matrix("w", 2, 4), matrix("b", 1, 4)
PARAMS = {"W1": W1, "b1": b1, "W2": W2, "b2": b2}
ones = sp.ones(2, 1)
T1 = X * W1 + ones * b1
Z = T1.applyfunc(sigma)
T2 = Z * W2 + ones * b2
Yhat = T2.applyfunc(sigma)
G2 = (Yhat - Y) / n
G1 = sp.matrices.dense.matrix_multiply_elementwise(
    G2 * W2.T, sp.matrices.dense.matrix_multiply_elementwise(Z, Z.applyfunc(lambda z: 1 - z))
)


def loss_of(yhat: sp.Matrix, y: sp.Matrix) -> sp.Expr:
    """The sum over classes, the mean over the batch."""
    return sum(map(cross_entropy, yhat, y)) / yhat.rows


# The point: no coordinate is 0, and the targets name the classes 2 and 0.
POINT: dict[sp.Expr, sp.Expr] = {
    entry: Rational(2 * (7 * k % 13) - 13, 8)
    for k, entry in enumerate(entry for M in (X, *PARAMS.values()) for entry in M)
}
POINT |= dict(zip(Y, (0, 0, 1, 0, 1, 0, 0, 0), strict=True))


def numbers(M: sp.Matrix, point: dict[sp.Expr, Any] = POINT) -> np.ndarray:
    """Expressions at a point, computed with 30 digits, as float64."""
    functions = [{"sigma": lambda t: 1 / (1 + mpmath.exp(-t))}, "mpmath"]
    at = sp.lambdify(list(point), M.tolist(), functions)
    with mpmath.workdps(30):
        return np.array(at(*map(mpmath.mpmathify, point.values())), float)


def number(expression: sp.Expr, point: dict[sp.Expr, Any]) -> float:
    return numbers(sp.Matrix([expression]), point).item()


def check_equal(found: np.ndarray, M: sp.Matrix, point: dict[sp.Expr, Any] = POINT) -> None:
    """Check that the code computes expressions at a point, to rounding."""
    np.testing.assert_allclose(found, numbers(M, point), rtol=1e-12, atol=1e-15)


def model_at_point(capacity: int = 3) -> tuple[Model, np.ndarray, np.ndarray]:
    """The model at the point, with room for more examples than it is given."""
    model = Model(SIZES, batch_size=capacity, dtype=np.float64)
    for name, M in PARAMS.items():
        view = model.network.named_params[name]
        view[...] = numbers(M).reshape(view.shape)
    return model, numbers(X), numbers(Y)


def gradients_at_point() -> dict[str, np.ndarray]:
    """The gradients, each as a matrix."""
    model, x, y = model_at_point()
    model.backward(model.forward(x), y)
    return {name: np.atleast_2d(g) for name, g in model.network.named_grads.items()}


t, y, yhat = symbols("t y yhat", real=True)
QUARTERS = [Rational(k, 4) for k in range(-9, 10)]
T = np.array([QUARTERS], float).T  # (19, 1)


def at_quarters(expression: sp.Expr) -> np.ndarray:
    """An expression in t at each of QUARTERS, (19, 1)."""
    return np.vstack([numbers(sp.Matrix([expression]), {t: q}) for q in QUARTERS])


def test_s1_the_two_forms_of_the_sigmoid() -> None:
    right = Rational(1, 2) + sp.tanh(t / 2) / 2
    assert sp.simplify((right - sigma(t)).rewrite(exp)) == 0
    found = sigmoid(T, out=np.empty_like(T))
    np.testing.assert_allclose(found, at_quarters(sigma(t)), rtol=1e-14)
    far = np.array([-1e4, 1e4])
    assert sigmoid(far, out=np.empty(2)).tolist() == [0, 1]


def test_s2_the_derivative_of_the_sigmoid() -> None:
    value = sigma(t).rewrite(exp)
    assert sp.simplify(sp.diff(value, t) - value * (1 - value)) == 0
    assert sp.simplify(1 - value - exp(-t) / (1 + exp(-t))) == 0
    layer = Sigmoid(len(T), 1, np.float64)
    layer.forward(T.copy())
    found = layer.backward(np.ones_like(T))
    np.testing.assert_allclose(found, at_quarters(sp.diff(sigma(t), t)), rtol=1e-14)


def test_s3_the_pre_activation_and_its_derivatives() -> None:
    x, W, b = X[0, :], W1[:, 0], b1[:, 0]
    (t_of,) = x * W + b
    prove_equal(derivative(t_of, W), x.T)
    prove_equal(derivative(t_of, b), sp.ones(1, 1))
    w, bias, one = numbers(W), numbers(b)[0], np.ones((1, 1))
    layer = Dense(w, bias, np.empty((3, 1)), np.empty(1), 1, input_gradient=False)
    check_equal(layer.forward(numbers(x)), sp.Matrix([t_of]))
    layer.backward(one)
    check_equal(layer.dW, derivative(t_of, W))
    check_equal(layer.db[np.newaxis], derivative(t_of, b))


def test_s4_the_squared_loss() -> None:
    prove_equal(sp.diff(squared_error(yhat, y), yhat), yhat - y)
    for target in (0, 1):
        loss = squared_error(sigma(t), target)
        targets = np.full_like(T, target)
        code = SquaredError(len(T), 1, np.float64)
        assert code.forward(T, targets) == pytest.approx(at_quarters(loss).mean(), rel=1e-13)
        by_yhat = len(T) * code.backward(T, targets) / at_quarters(sp.diff(sigma(t), t))
        np.testing.assert_allclose(by_yhat, at_quarters(sigma(t) - target), rtol=1e-13)


def test_s5_squared_loss_and_sigmoid() -> None:
    slope = sp.diff(squared_error(sigma(t), y), t)
    prove_equal(slope, (sigma(t) - y) * sigma(t) * (1 - sigma(t)))
    for target in (0, 1):
        code = SquaredError(len(T), 1, np.float64)
        found = len(T) * code.backward(T, np.full_like(T, target))
        np.testing.assert_allclose(found, at_quarters(slope.subs(y, target)), rtol=1e-13)


def test_s6_the_cross_entropy() -> None:
    """The code has no ŷ: its slope by ŷ is that by t, from the complex step, over σ′."""
    slope = sp.diff(cross_entropy(yhat, y), yhat)
    prove_equal(slope, (yhat - y) / (yhat * (1 - yhat)))
    h = 1e-30
    for target in (0, 1):
        loss = cross_entropy(sigma(t), target)
        for q in QUARTERS:
            at, targets = np.array([[float(q)]]), np.array([[float(target)]])
            value = SigmoidCrossEntropy(1, 1, np.float64).forward(at, targets)
            assert value == pytest.approx(number(loss, {t: q}), rel=1e-13)
            stepped = SigmoidCrossEntropy(1, 1, np.complex128).forward(at + 1j * h, targets)
            by_yhat = stepped.imag / h / number(sp.diff(sigma(t), t), {t: q})
            expected = number(slope.subs({yhat: sigma(t), y: target}), {t: q})
            assert by_yhat == pytest.approx(expected, rel=1e-13)


def test_s7_the_factor_of_the_sigmoid_cancels() -> None:
    s = sigma(t)
    slope = sp.diff(cross_entropy(s, y), t)
    prove_equal(slope, s - y)
    prove_equal(-y / s * sp.diff(s, t) - (1 - y) / (1 - s) * sp.diff(1 - s, t), slope)  # (4), (6)
    prove_equal(-y * (1 - s) + (1 - y) * s, slope)  # (7)
    for target in (0, 1):
        code = SigmoidCrossEntropy(len(T), 1, np.float64)
        found = len(T) * code.backward(T, np.full_like(T, target))
        np.testing.assert_allclose(found, at_quarters(slope.subs(y, target)), rtol=1e-13)


def test_s8_equations_2_and_8_with_their_biases() -> None:
    """A network with no hidden layer and one output. The code has the mean for the note's sum."""
    W, b, targets = W1[:, 0], b1[:, 0], Y[:, 0]
    predictions = (X * W + ones * b).applyfunc(sigma)
    for name, loss, factor in (
        ("squared_error", squared_error, lambda p: p * (1 - p)),  # (2)
        ("sigmoid_cross_entropy", cross_entropy, lambda p: 1),  # (8)
    ):
        L = sum(map(loss, predictions, targets))
        g = [(p - target) * factor(p) for p, target in zip(predictions, targets, strict=True)]
        dW, db = sum((X[i, :].T * g[i] for i in range(n)), sp.zeros(3, 1)), sp.Matrix([sum(g)])
        prove_equal(derivative(L, W), dW)
        prove_equal(derivative(L, b), db)
        model = Model((3, 1), loss=name, batch_size=n, dtype=np.float64)
        model.network.named_params["W1"][...] = numbers(W)
        model.network.named_params["b1"][...] = numbers(b)[0]
        model.backward(model.forward(numbers(X)), numbers(targets))
        check_equal(n * model.network.named_grads["W1"], dW)
        check_equal(n * model.network.named_grads["b1"][np.newaxis], db)


def test_s9_the_hidden_layer() -> None:
    """A unit depends on its own column of W¹ and its own bias, as S3 and S1 say."""
    for unit in range(2):
        others = [*W1[:, 1 - unit], b1[1 - unit]]
        assert not Z[:, unit].has(*others)
        prove_equal(Z[:, unit], (X * W1[:, unit] + ones * b1[unit]).applyfunc(sigma))
    model, x, _ = model_at_point()
    model.forward(x)
    hidden = model.network.layers[1]
    assert isinstance(hidden, Sigmoid)
    check_equal(hidden.T, T1)
    check_equal(hidden.Z, Z)


def test_s10_the_logits_and_the_output() -> None:
    """Ŷ is between 0 and 1. The note's, without σ, is not at the point: no logarithm."""
    assert sp.Interval.open(0, 1) == sp.calculus.util.function_range(
        sigma(t).rewrite(exp), t, sp.Reals
    )
    assert not all(0 < entry < 1 for entry in numbers(T2).flat)
    model, x, _ = model_at_point()
    logits = model.forward(x)
    check_equal(logits, T2)
    check_equal(model.probs(logits), Yhat)


def test_s11_ten_classes() -> None:
    row, target = matrix("t", 1, 10), matrix("y", 1, 10)
    predictions = row.applyfunc(sigma)
    L = loss_of(predictions, target)
    prove_equal(derivative(L, row), predictions - target)
    point = {entry: Rational(3 * k - 14, 4) for k, entry in enumerate(row)}
    point |= {entry: int(k == 3) for k, entry in enumerate(target)}
    logits, targets = numbers(row, point), numbers(target, point)
    code = SigmoidCrossEntropy(1, 10, np.float64)
    assert code.forward(logits, targets) == pytest.approx(number(L, point), rel=1e-13)
    check_equal(code.backward(logits, targets), predictions - target, point)


def test_s12_the_output_layer_for_one_example() -> None:
    z, target, prediction = Z[0, :], Y[0, :], Yhat[0, :]
    hidden = matrix("z", 1, 2)
    out = (hidden * W2 + b2).applyfunc(sigma)
    L = loss_of(out, target)
    prove_equal(derivative(L, W2), hidden.T * (out - target))
    prove_equal(derivative(L, b2), out - target)
    model, x, y_ = model_at_point()
    model.backward(model.forward(x[:1]), y_[:1])
    check_equal(model.network.named_grads["W2"], z.T * (prediction - target))
    check_equal(model.network.named_grads["b2"][np.newaxis], prediction - target)


def test_s13_the_mean_over_the_batch() -> None:
    logits = matrix("t", 2, 4)
    predictions = logits.applyfunc(sigma)
    prove_equal(derivative(loss_of(predictions, Y), logits), (predictions - Y) / n)
    model, x, y_ = model_at_point()
    check_equal(model.criterion.backward(model.forward(x), y_), G2)


def output_layer() -> tuple[sp.Matrix, sp.Matrix, sp.Expr]:
    """Z as symbols, with G² and the loss that follow."""
    hidden = matrix("z", 2, 2)
    predictions = (hidden * W2 + ones * b2).applyfunc(sigma)
    return hidden, (predictions - Y) / n, loss_of(predictions, Y)


def test_s14_a_sum_over_examples_is_a_matrix_product() -> None:
    hidden, G, L = output_layer()
    dW2 = derivative(L, W2)
    prove_equal(dW2, hidden.T * G)
    prove_equal(dW2, hidden[0, :].T * G[0, :] + hidden[1, :].T * G[1, :])
    check_equal(gradients_at_point()["W2"], Z.T * G2)


def test_s15_the_bias_is_a_column_sum() -> None:
    _, G, L = output_layer()
    prove_equal(derivative(L, b2), G[0, :] + G[1, :])
    prove_equal(derivative(L, b2), ones.T * G)
    check_equal(gradients_at_point()["b2"], G2[0, :] + G2[1, :])


def test_s16_a_sum_over_classes() -> None:
    hidden, G, L = output_layer()
    prove_equal(derivative(L, hidden), G * W2.T)
    model, x, y_ = model_at_point()
    signal = model.criterion.backward(model.forward(x), y_)
    check_equal(model.network.layers[2].backward(signal), G2 * W2.T)


def test_s17_back_through_the_sigmoid() -> None:
    pre = matrix("t", 2, 2)
    z = pre.applyfunc(sigma)
    predictions = (z * W2 + ones * b2).applyfunc(sigma)
    back = (predictions - Y) / n * W2.T
    expected = sp.Matrix(2, 2, lambda i, h: back[i, h] * z[i, h] * (1 - z[i, h]))
    prove_equal(derivative(loss_of(predictions, Y), pre), expected)
    model, x, y_ = model_at_point()
    signal = model.criterion.backward(model.forward(x), y_)
    for layer in reversed(model.network.layers[1:]):
        signal = layer.backward(signal)
    check_equal(signal, G1)


def test_s18_the_weights_of_the_hidden_layer() -> None:
    prove_equal(derivative(loss_of(Yhat, Y), W1), X.T * G1)
    # The note's column, of one example: its sign and its x put right.
    x, target, prediction = X[0, :], Y[0, :], Yhat[0, :]
    column = x.T * ((prediction - target) * W2[0, :].T) * Z[0, 0] * (1 - Z[0, 0])
    prove_equal(derivative(loss_of(prediction, target), W1[:, 0]), column)
    check_equal(gradients_at_point()["W1"], X.T * G1)


def test_s19_the_biases_of_the_hidden_layer() -> None:
    prove_equal(derivative(loss_of(Yhat, Y), b1), G1[0, :] + G1[1, :])
    check_equal(gradients_at_point()["b1"], G1[0, :] + G1[1, :])


def test_s20_the_shapes() -> None:
    """The factors of the note's network fit together as they stand, and not otherwise."""
    batch, D, H, K = 128, 3072, 512, 10
    inputs, output, errors = (
        sp.MatrixSymbol(name, *shape)
        for name, shape in (("X", (batch, D)), ("W", (H, K)), ("G", (batch, K)))
    )
    slope = sp.MatrixSymbol("S", batch, H)
    product = inputs.T * sp.HadamardProduct(errors * output.T, slope)
    assert product.shape == (D, H)
    assert (slope.T * errors).shape == (H, K)
    for wrong in (
        lambda: errors * output,
        lambda: inputs * errors,
        lambda: sp.HadamardProduct(inputs.T * errors * output.T, slope),
    ):
        with pytest.raises(sp.ShapeError):
            wrong()
    network = Network((D, H, K), batch_size=batch)
    shapes = {name: view.shape for name, view in network.named_grads.items()}
    assert shapes == {"W1": (D, H), "b1": (H,), "W2": (H, K), "b2": (K,)}


def test_s21_the_loss_from_the_logit() -> None:
    """Equal on both sides of 0, with the value and the slope of each side; and summed in order."""
    size = symbols("size", nonnegative=True)
    for side in (size, -size):
        stable = (size / 2 + (Rational(1, 2) - y) * side) + log(1 + exp(-size))
        loss = cross_entropy(sigma(side), y).rewrite(exp)
        assert sp.simplify(sp.diff(stable - loss, size)) == 0
        assert sp.expand((stable - loss).subs(size, 0), force=True).equals(0)
    for logit in (*range(-80, 81, 4), -17, 17):
        for target in (0, 1):
            code = SigmoidCrossEntropy(1, 1, np.float64)
            found = code.forward(np.array([[float(logit)]]), np.array([[float(target)]]))
            with mpmath.workdps(60):
                exact = mpmath.log1p(mpmath.exp(-logit if target else logit))
            assert found == pytest.approx(float(exact), rel=1e-14, abs=0)


# The numerical derivatives, of any polynomial of degree 6: by Taylor's theorem, of any smooth loss.

p, h, e, g = symbols("p h epsilon g", real=True)
COEFFICIENTS = symbols("c0:7", real=True)


def L(at: sp.Expr) -> sp.Expr:
    return sum(c * at**k for k, c in enumerate(COEFFICIENTS))


def order(difference: sp.Expr, by: sp.Symbol) -> int:
    """The lowest power in a polynomial."""
    return min(power for (power,) in sp.Poly(sp.expand(difference), by).monoms())


def along_w2() -> tuple[Derivatives, list[float], np.ndarray]:
    """The derivatives of the code, and the loss's first three by the entry W2[1, 2]."""
    model, x, targets = model_at_point(n)
    L, exact = loss_of(Yhat, Y), []
    for _ in range(3):
        L = sp.diff(L, W2[1, 2])
        exact.append(number(L, POINT))
    derivatives = Derivatives(model, model.in_dtype(np.complex128, n), x, targets)
    return derivatives, exact, np.eye(W2.rows * W2.cols)[1 * W2.cols + 2]


def test_s22_central_differences() -> None:
    difference = (L(p + h) - L(p - h)) / (2 * h)
    assert order(difference - sp.diff(L(p), p) - h**2 / 6 * sp.diff(L(p), p, 3), h) == 4
    derivatives, (first, _, third), direction = along_w2()
    step = 1 / 64
    found, _ = derivatives.central("W2", slice(None), direction, step)
    assert found == pytest.approx(first + step**2 / 6 * third, rel=1e-7)
    assert found != pytest.approx(first, rel=1e-7)


def test_s23_the_complex_step() -> None:
    stepped = sp.im(sp.expand(L(p + I * h))) / h
    assert order(stepped - sp.diff(L(p), p) + h**2 / 6 * sp.diff(L(p), p, 3), h) == 4
    derivatives, (first, *_), direction = along_w2()
    found = derivatives.complex_step("W2", slice(None), direction)
    assert found == pytest.approx(first, rel=1e-14)


def test_s24_the_taylor_slope() -> None:
    remainder = L(p + e) - L(p) - e * g
    slope, curvature = sp.diff(L(p), p), sp.diff(L(p), p, 2)
    assert order(remainder - e * (slope - g) - e**2 / 2 * curvature, e) == 3
    assert order(remainder.subs(g, slope), e) == 2
    assert order(remainder.subs(g, 2 * slope), e) == 1
    derivatives, (first, *_), direction = along_w2()
    for gradient, expected in ((first, 2), (-first, 1), (1.01 * first, 1)):
        found = derivatives.taylor_slope("W2", gradient * direction, [direction])
        assert found == pytest.approx(expected, abs=0.1)


# The worked example.


def test_the_worked_example_is_exact() -> None:
    """Its fractions, proved: σ of a multiple of ln 3 is rational."""
    ln3 = log(3)
    x, targets = sp.Matrix(explain.X), sp.Matrix(explain.Y)
    over_ln3 = {name: sp.Matrix(np.atleast_2d(v)) for name, v in explain.PARAMS_OVER_LN3.items()}
    u, a, w, b = (ln3 * M for M in over_ln3.values())
    exact = {"T1": x * u + ones * a}
    exact["Z"] = exact["T1"].applyfunc(lambda v: sigma(v).rewrite(exp))
    exact["T2"] = (exact["Z"] * w + ones * b).applyfunc(sp.expand)
    exact["Ŷ"] = exact["T2"].applyfunc(lambda v: sigma(v).rewrite(exp))
    exact["G2"] = (exact["Ŷ"] - targets) / 2
    slope = exact["Z"].applyfunc(lambda z: z * (1 - z))
    exact["G1"] = sp.matrices.dense.matrix_multiply_elementwise(exact["G2"] * w.T, slope)
    exact |= {"dW2": exact["Z"].T * exact["G2"], "dW1": x.T * exact["G1"]}
    exact |= {f"db{i}": ones.T * exact[f"G{i}"] for i in (1, 2)}
    loss = sp.expand(loss_of(exact["Ŷ"], targets))
    assert sp.expand_log(loss - log(Rational(128, 3)) / 2).expand() == 0
    printed, values = explain.example().splitlines(), explain.example_values()
    for name, M in exact.items():
        np.testing.assert_allclose(np.atleast_2d(values[name]), numbers(M, {t: 0}), atol=1e-15)
        first = next(k for k, line in enumerate(printed) if line.startswith(f"{name} = "))
        for row, line in zip(M.tolist(), printed[first : first + M.rows], strict=True):
            assert [sp.expand(v) for v in row] == [parsed(line[28:41]), parsed(line[41:54])]


def parsed(cell: str) -> sp.Expr:
    """A fraction, or one times ln 3, as it is printed."""
    number, has_log, _ = cell.strip().replace("−", "-").partition("ln 3")
    number = number.strip() + ("1" if has_log and number.strip() in {"", "-"} else "")
    return Rational(number) * (log(3) if has_log else 1)


# The tests above notice what they are there for: each line of code that a step links is broken.

BREAKS = {
    ("sigmoid", "np.tanh(out, out=out)"): (
        "np.tanh(-out, out=out)",
        "np.tanh(2 * out, out=out)",
        "pass",
    ),
    ("Sigmoid._forward", "sigmoid(T, out=Z)"): (
        "sigmoid(-T, out=Z)",
        "sigmoid(2 * T, out=Z)",
        "Z[...] = T",
    ),
    ("Sigmoid._backward", "T *= Z"): ("T *= -Z", "T *= 2 * Z", "pass"),
    ("Sigmoid._backward", "G *= T"): ("G *= -T", "G *= 2 * T", "pass"),
    ("Dense.forward", "np.dot(X, self.W, out=T)"): (
        "np.dot(-X, self.W, out=T)",
        "np.dot(2 * X, self.W, out=T)",
        "T[...] = 0",
    ),
    ("Dense.forward", "T += self.b"): ("T -= self.b", "T += 2 * self.b", "pass"),
    ("Dense.backward", "np.dot(self.X.T, G, out=self.dW)"): (
        "np.dot(self.X.T, -G, out=self.dW)",
        "np.dot(self.X.T, 2 * G, out=self.dW)",
        "pass",
    ),
    ("Dense.backward", "np.sum(G, axis=0, out=self.db)"): (
        "np.sum(-G, axis=0, out=self.db)",
        "np.sum(2 * G, axis=0, out=self.db)",
        "pass",
    ),
    ("Dense.backward", "return np.dot(G, self.W.T, out=self._dX[: len(G)])"): (
        "return np.dot(-G, self.W.T, out=self._dX[: len(G)])",
        "return np.dot(2 * G, self.W.T, out=self._dX[: len(G)])",
        "return self._dX[: len(G)]",
    ),
    ("SquaredError.forward", "return (0.5 * A.sum() / n).item()"): (
        "return (-0.5 * A.sum() / n).item()",
        "return (A.sum() / n).item()",
        "return (0.5 * A.sum()).item()",
    ),
    ("SquaredError.backward", "G -= Y"): ("G += Y", "G -= 2 * Y", "pass"),
    ("SquaredError.backward", "A *= G"): ("A *= -G", "A *= 2 * G", "pass"),
    ("SquaredError.backward", "G *= A"): ("G *= -A", "G *= 2 * A", "pass"),
    ("SigmoidCrossEntropy.forward", "return (A.sum() / n).item()"): (
        "return (-A.sum() / n).item()",
        "return (2 * A.sum() / n).item()",
        "return 0 * A[0, 0].item()",
    ),
    ("SigmoidCrossEntropy.forward", "G += A"): ("G -= A", "G += 2 * A", "pass"),
    ("SigmoidCrossEntropy.forward", "np.log1p(A, out=A)"): (
        "A[...] = -np.log1p(A)",
        "A[...] = 2 * np.log1p(A)",
        "pass",
    ),
    ("SigmoidCrossEntropy.backward", "G -= Y"): ("G += Y", "G -= 2 * Y", "pass"),
    ("SigmoidCrossEntropy.backward", "G /= len(T)"): ("G /= -len(T)", "G /= 2 * len(T)", "pass"),
    ("SigmoidCrossEntropy.probs", "return sigmoid(T, out=self._G[: len(T)])"): (
        "return sigmoid(-T, out=self._G[: len(T)])",
        "return sigmoid(2 * T, out=self._G[: len(T)])",
        "return T",  # the note's ŷ
    ),
    ("Network.forward", "X = layer.forward(X)"): (
        "X = -layer.forward(X)",
        "X = 2 * layer.forward(X)",
        "layer.forward(X)",
    ),
    ("Network.backward", "G = layer.backward(G)"): (
        "G = layer.backward(-G)",
        "G = 2 * layer.backward(G)",
        "layer.backward(G)",
    ),
    # A shape has no sign.
    ("named_shapes", 'shapes |= {f"W{i}": (D, H), f"b{i}": (H,)}'): (
        'shapes |= {f"W{i}": (H, D), f"b{i}": (H,)}',
        'shapes |= {f"W{i}": (D, 2 * H), f"b{i}": (2 * H,)}',
        'shapes |= {f"W{i}": (D, H)}',
    ),
    ("Derivatives.central", "return (above - below) / (2 * step)"): (
        "return (below - above) / (2 * step), True",
        "return (above - below) / step, True",
        "return above - below, True",
    ),
    ("Derivatives.complex_step", "return float(value.imag / COMPLEX_STEP)"): (
        "return -float(value.imag / COMPLEX_STEP)",
        "return 2 * float(value.imag / COMPLEX_STEP)",
        "return float(value.imag)",
    ),
    ("Derivatives._slope_along", "remainder = abs(value - self.level"): (
        "remainder = abs(value - self.level + epsilon * predicted)",
        "remainder = abs(value - self.level - 2 * epsilon * predicted)",
        "remainder = abs(value - self.level)",
    ),
}
STEPS = explain.steps(explain.PAGE.read_text())
LINKED = {(line.function, line.text): line for step in STEPS for line in step.code}


def test_every_step_has_its_test_and_its_lines_and_ways_to_break_them() -> None:
    assert [step.name for step in STEPS] == [f"S{k}" for k in range(1, len(STEPS) + 1)]
    for step in STEPS:
        assert step.code
        assert step.test.text.startswith(f"test_{step.name.lower()}_")
    assert LINKED.keys() == BREAKS.keys()


Notices = Callable[[str, str, str], bool]


@pytest.fixture(scope="module")
def notices() -> Iterator[Notices]:
    """Whether a test fails with a source in place of a file: a process that starts tests soon."""
    command = [sys.executable, "-m", "mutants.runner"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT / "tests", text=True, **pipes) as process:

        def ask(file: str, source: str, test: str) -> bool:
            process.stdin.write(json.dumps([file, source, [test]]) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield ask
        process.stdin.close()


@pytest.mark.slow
@pytest.mark.parametrize("link", LINKED, ids=lambda link: f"{link[0]}: {link[1]}")
def test_a_broken_line_is_noticed_by_each_of_its_steps(
    link: tuple[str, str], notices: Notices
) -> None:
    line = LINKED[link]
    source = (ROOT / line.path).read_text()
    lines = source.splitlines(keepends=True)
    before = lines[line.number - 1]
    assert before.strip().startswith(line.text)
    file = line.path.removeprefix("mlpcli/")
    for step in STEPS:
        if line not in step.code:
            continue
        test = f"tests/nn/test_note.py::{step.test.text}"
        assert not notices(file, source, test), step.name
        for broken in BREAKS[link]:
            indent = " " * (len(before) - len(before.lstrip()))
            lines[line.number - 1] = f"{indent}{broken}\n"
            assert notices(file, "".join(lines), test), f"{step.name}: {broken}"
