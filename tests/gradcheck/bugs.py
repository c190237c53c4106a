"""Wrong gradients as people write them: what the gradient check has to refute.

Each bug changes the methods of one model's own objects, so nothing outlives the model. A method
that takes the place of another is called with the object, the right method, and the arguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlpcli.nn.activations import Activation
from mlpcli.nn.layers import Dense
from mlpcli.nn.model import Model

Array = np.ndarray
Change = Callable[[Model], None]
Method = Callable[..., Any]

TANH, RELU, GELU = (f"model.activation={name}" for name in ("tanh", "relu", "gelu"))
SQUARED, SOFTMAX = "loss=squared_error", "loss=softmax_cross_entropy"
TWO_LAYERS, THREE_LAYERS = "model.hidden=[24,24]", "model.hidden=[24,24,24]"


@dataclass(frozen=True)
class Bug:
    """A bug, the settings in which it shows, and the tensors that it makes wrong; (): all."""

    change: Change
    sets: tuple[str, ...]
    wrong: tuple[str, ...]


BUGS: dict[str, Bug] = {}


def bug(*sets: str, wrong: str = "") -> Callable[[Change], Change]:
    """Put a function into BUGS, under its own name."""

    def put(change: Change) -> Change:
        BUGS[change.__name__] = Bug(change, sets, tuple(wrong.split()))
        return change

    return put


# The error at the output, G = dL/dT.


@bug()
def divided_by_buffer_size(model: Model) -> None:
    """G is divided by the rows of the buffer: too small in a short batch."""
    _errors(model, lambda G, T, Y: G * (len(T) / len(model.criterion._G)))


@bug()
def divided_by_first_batch_size(model: Model) -> None:
    """The 1/n of the first batch is kept for all."""

    def backward(loss: Any, right: Method, T: Array, Y: Array) -> Array:
        first = vars(loss).setdefault("first", len(T))
        return right(T, Y) * (len(T) / first)

    _replace(model.criterion, "backward", backward)


@bug()
def no_error_after_row_64(model: Model) -> None:
    """A kernel made for 64 rows leaves out the rest of a larger batch."""
    _errors(model, lambda G, T, Y: _zero(G, slice(64, None)))


@bug()
def no_error_of_classes_after_the_first_images(model: Model) -> None:
    """Only classes of the first eight images have errors."""

    def error(G: Array, T: Array, Y: Array) -> Array:
        labels = Y.argmax(axis=1)
        return _zero(G, ~np.isin(labels, labels[:8]))

    _errors(model, error)


@bug()
def no_error_of_the_last_class(model: Model) -> None:
    """The loop over classes ends one too early."""
    _errors(model, lambda G, T, Y: _zero(G, (slice(None), -1)))


@bug()
def images_of_one_class_count_twice(model: Model) -> None:
    """A weight of one class, in the gradient alone."""
    _errors(model, lambda G, T, Y: G * (1 + Y[:, 3:4]))


@bug()
def true_class_counts_twice(model: Model) -> None:
    """A weight of positive targets, in the gradient alone."""
    _errors(model, lambda G, T, Y: G * (1 + Y))


@bug()
def no_error_at_far_logits(model: Model) -> None:
    """Ŷ − Y is 0 where |t| > 12."""
    _errors(model, lambda G, T, Y: _zero(G, np.abs(T) > 12))


@bug()
def clipped_errors(model: Model) -> None:
    """Ŷ − Y is clipped to ±0.95."""
    _errors(model, lambda G, T, Y: np.clip(G, -0.95 / len(T), 0.95 / len(T)))


@bug()
def errors_of_wrong_predictions_alone(model: Model) -> None:
    """The perceptron's rule: an image that is predicted correctly has no error."""
    _errors(model, lambda G, T, Y: _zero(G, T.argmax(axis=1) == Y.argmax(axis=1)))


@bug()
def rounded_probabilities(model: Model) -> None:
    """Ŷ is rounded to 0 or 1 before Y is subtracted."""
    _errors(model, lambda G, T, Y: ((T > 0) - Y) / len(T))


@bug()
def smoothed_labels_in_backward(model: Model) -> None:
    """Labels are smoothed by 0.1, in the gradient alone."""
    _errors(model, lambda G, T, Y: G + 0.1 * (Y - 1 / T.shape[1]) / len(T))


@bug()
def mean_over_classes_in_backward(model: Model) -> None:
    """The mean is taken over classes too, in the gradient alone."""
    _errors(model, lambda G, T, Y: G / T.shape[1])


@bug(SOFTMAX)
def softmax_without_targets(model: Model) -> None:
    """Y is not subtracted from Ŷ."""
    _errors(model, lambda G, T, Y: model.probs(T) / len(T))


@bug(SOFTMAX)
def softmax_down_the_batch(model: Model) -> None:
    """Columns of the gradient's Ŷ sum to 1, where rows have to."""

    def error(G: Array, T: Array, Y: Array) -> Array:
        E = np.exp(T - T.max(axis=0))
        return (E / E.sum(axis=0) - Y) / len(T)

    _errors(model, error)


@bug(SOFTMAX)
def softmax_of_clipped_logits(model: Model) -> None:
    """Logits are clipped to ±10 before the gradient's exponentials, against overflow."""

    def error(G: Array, T: Array, Y: Array) -> Array:
        E = np.exp(np.clip(T, -10, 10))
        return (E / E.sum(axis=1, keepdims=True) - Y) / len(T)

    _errors(model, error)


@bug(SOFTMAX)
def softmax_with_derivative_of_sigmoid(model: Model) -> None:
    """Ŷ − Y is multiplied by Ŷ(1 − Ŷ), as in squared error."""

    def error(G: Array, T: Array, Y: Array) -> Array:
        P = model.probs(T)
        return G * P * (1 - P)

    _errors(model, error)


@bug(SOFTMAX)
def sigmoid_for_softmax(model: Model) -> None:
    """Ŷ of the gradient is the sigmoid of each logit."""
    _errors(model, lambda G, T, Y: (0.5 * np.tanh(0.5 * T) + 0.5 - Y) / len(T))


@bug(SQUARED)
def squared_error_without_derivative(model: Model) -> None:
    """σ′ of the output is missing, as if the loss were cross-entropy."""
    _errors(model, lambda G, T, Y: (model.probs(T) - Y) / len(T))


@bug(SQUARED)
def squared_error_without_half(model: Model) -> None:
    """The gradient is that of ‖ŷ − y‖², twice that of the loss."""
    _errors(model, lambda G, T, Y: 2 * G)


# Derivatives of activations.


@bug(wrong="W1 b1")
def no_derivative_where_saturated(model: Model) -> None:
    """σ′ is 0 where z < 1e-4 or z > 1 − 1e-4."""
    _slopes(model, lambda slope, T, Z: _zero(slope, (Z < 1e-4) | (Z > 1 - 1e-4)))


@bug(wrong="W1 b1")
def derivative_of_t(model: Model) -> None:
    """t(1 − t) for z(1 − z)."""
    _slopes(model, lambda slope, T, Z: T * (1 - T))


@bug(wrong="W1 b1")
def derivative_with_plus(model: Model) -> None:
    """z(1 + z) for z(1 − z)."""
    _slopes(model, lambda slope, T, Z: Z * (1 + Z))


@bug(wrong="W1 b1")
def derivative_twice(model: Model) -> None:
    """Both the layer and the loop over layers multiply by σ′."""
    _slopes(model, lambda slope, T, Z: slope * slope)


@bug(wrong="W1 b1")
def derivative_at_the_origin(model: Model) -> None:
    """σ′ is ¼ everywhere."""
    _slopes(model, lambda slope, T, Z: np.full_like(Z, 0.25))


@bug(TWO_LAYERS, wrong="W1 b1")
def derivative_of_the_next_layer(model: Model) -> None:
    """The σ′ of layer 2 serves for layer 1 too."""
    first, second = _activations(model)
    _slopes(model, lambda slope, T, Z: second.Z * (1 - second.Z), first)


@bug(wrong="W1 b1")
def derivative_kept_by_batch_size(model: Model) -> None:
    """σ′ is computed once for each number of rows, and kept."""
    kept: dict[int, Array] = {}
    _slopes(model, lambda slope, T, Z: kept.setdefault(len(Z), slope))


@bug(wrong="W1 b1")
def no_error_of_one_unit(model: Model) -> None:
    """No error goes back through one hidden unit."""
    _slopes(model, lambda slope, T, Z: _zero(slope, (slice(None), 5)))


@bug(wrong="W1 b1")
def dropout_in_backward(model: Model) -> None:
    """One unit in ten is dropped in each image, in the gradient alone."""
    rng = np.random.default_rng(0)
    _slopes(model, lambda slope, T, Z: slope * (rng.random(Z.shape) > 0.1) / 0.9)


@bug(TANH, wrong="W1 b1")
def tanh_derivative_without_square(model: Model) -> None:
    """1 − z for 1 − z²."""
    _slopes(model, lambda slope, T, Z: 1 - Z)


@bug(TANH, wrong="W1 b1")
def tanh_derivative_of_sigmoid(model: Model) -> None:
    """z(1 − z), copied from the sigmoid, for 1 − z²."""
    _slopes(model, lambda slope, T, Z: Z * (1 - Z))


@bug(RELU, wrong="W1 b1")
def relu_derivative_at_z_of_0(model: Model) -> None:
    """z ≥ 0, which holds everywhere, for z > 0."""
    _slopes(model, lambda slope, T, Z: Z >= 0)


@bug(RELU, wrong="W1 b1")
def relu_derivative_on_the_wrong_side(model: Model) -> None:
    """1 where the unit is off."""
    _slopes(model, lambda slope, T, Z: 1 - slope)


@bug(RELU, wrong="W1 b1")
def leaky_relu_in_backward(model: Model) -> None:
    """A slope of 0.01 where the unit is off, in the gradient alone."""
    _slopes(model, lambda slope, T, Z: np.maximum(slope, 0.01))


@bug(GELU, wrong="W1 b1")
def gelu_derivative_without_second_term(model: Model) -> None:
    """½(1 + u), as if u did not depend on t."""
    _slopes(model, lambda slope, T, Z: Z / T)


@bug(GELU, wrong="W1 b1")
def gelu_derivative_of_the_exact_form(model: Model) -> None:
    """Φ(t) + t φ(t), the derivative of the form with erf, under the form with tanh."""
    cdf = np.vectorize(lambda t: 0.5 * (1 + math.erf(t / math.sqrt(2))), otypes=[float])
    density = 1 / math.sqrt(2 * math.pi)
    _slopes(model, lambda slope, T, Z: cdf(T) + T * density * np.exp(-0.5 * T * T))


# The sums over a batch, dW and db.


@bug(wrong="b1 b2")
def bias_mean(model: Model) -> None:
    """The mean over the batch of errors that hold 1/n already."""
    _after(model, lambda layer, G: _scale(layer.db, 1 / len(G)))


@bug(wrong="b1 b2")
def bias_sum_over_both_axes(model: Model) -> None:
    """The axis of the sum is forgotten, and one number fills db."""
    _after(model, lambda layer, G: layer.db.fill(G.sum()))


@bug(wrong="b1 b2")
def bias_of_the_first_image(model: Model) -> None:
    """db is the first row of G."""
    _after(model, lambda layer, G: _write(layer.db, G[0]))


@bug(wrong="b1 b2")
def bias_twice(model: Model) -> None:
    """db is doubled: some frameworks give biases twice the learning rate."""
    _after(model, lambda layer, G: _scale(layer.db, 2))


@bug(wrong="b1 b2")
def bias_sum_over_the_buffer(model: Model) -> None:
    """db adds rows that a short batch leaves in the buffer from an earlier one."""
    _after(model, lambda layer, G: _write(layer.db, G.base.sum(axis=0)))


@bug(wrong="b1 b2")
def bias_view_shifted(model: Model) -> None:
    """Each entry of db stands one place too far."""
    _after(model, lambda layer, G: _write(layer.db, np.roll(layer.db, 1)))


@bug(wrong="b1")
def bias_before_the_derivative(model: Model) -> None:
    """db1 is the sum of dL/dZ, not of dL/dT."""
    (activation,) = _activations(model)

    def backward(layer: Activation, right: Method, G: Array) -> Array:
        layer.sum = G.sum(axis=0)
        return right(G)

    _replace(activation, "backward", backward)
    _after(model, lambda layer, G: _write(layer.db, activation.sum), _dense(model)[0])


@bug(wrong="b1 b2")
def bias_sum_in_half_precision(model: Model) -> None:
    """db is added up in float16."""
    _after(model, lambda layer, G: _write(layer.db, G.sum(axis=0, dtype=np.float16)))


@bug(wrong="W1")
def sign_of_one_tensor(model: Model) -> None:
    """dW1 alone is negated."""
    _after(model, lambda layer, G: _scale(layer.dW, -1), _dense(model)[0])


@bug(wrong="W1 W2")
def mean_taken_twice(model: Model) -> None:
    """dW is divided by n, though G is."""
    _after(model, lambda layer, G: _scale(layer.dW, 1 / len(G)))


@bug(wrong="W1 W2")
def last_column_missing(model: Model) -> None:
    """The loop over the units of dW ends one too early."""
    _after(model, lambda layer, G: layer.dW[:, -1].fill(0))


@bug(wrong="W1 W2")
def last_row_missing(model: Model) -> None:
    """The loop over the inputs of dW ends one too early."""
    _after(model, lambda layer, G: layer.dW[-1].fill(0))


@bug(wrong="W1 W2")
def reshaped_for_transposed(model: Model) -> None:
    """GᵀX, (H, D), is reshaped to (D, H)."""
    _after(model, lambda layer, G: _write(layer.dW, (G.T @ layer.X).reshape(layer.dW.shape)))


@bug(wrong="W1 W2")
def rows_out_of_step(model: Model) -> None:
    """The errors of an image meet the inputs of the next."""
    _after(model, lambda layer, G: _write(layer.dW, np.roll(layer.X, -1, axis=0).T @ G))


@bug(wrong="W1 W2")
def last_image_missing(model: Model) -> None:
    """The loop over the batch ends one too early."""
    _after(model, lambda layer, G: _write(layer.dW, layer.X[:-1].T @ G[:-1]))


@bug(wrong="W1 W2")
def rest_of_eight_missing(model: Model) -> None:
    """A kernel that takes eight rows at a time leaves out a last, smaller group."""

    def change(layer: Dense, G: Array) -> None:
        n = len(G) - len(G) % 8
        layer.dW[...] = layer.X[:n].T @ G[:n]

    _after(model, change)


@bug(wrong="W1 W2")
def last_chunk_alone(model: Model) -> None:
    """Products of 64 rows each overwrite one another, where they have to be added."""

    def change(layer: Dense, G: Array) -> None:
        for start in range(0, len(G), 64):
            layer.dW[...] = layer.X[start : start + 64].T @ G[start : start + 64]

    _after(model, change)


@bug("training.batch_size=149", wrong="b1 b2")
def batch_of_one(model: Model) -> None:
    """A batch of one image loses its axis, so db is the sum over units."""
    _after(model, lambda layer, G: layer.db.fill(G.sum()) if len(G) == 1 else None)


@bug(wrong="W1 W2")
def gradient_added_up_over_batches(model: Model) -> None:
    """From the second batch on dW is added to: nobody has set it to zero."""

    def change(layer: Dense, G: Array) -> None:
        layer.dW += vars(layer).get("total", 0)
        layer.total = layer.dW.copy()

    _after(model, change)


@bug(wrong="W1 W2")
def gradient_of_the_batch_before(model: Model) -> None:
    """Each call hands over the dW of the call before."""

    def change(layer: Dense, G: Array) -> None:
        own = layer.dW.copy()
        layer.dW[...] = vars(layer).get("before", own)
        layer.before = own

    _after(model, change)


@bug(wrong="W1 W2")
def gradient_of_the_first_batch(model: Model) -> None:
    """dW is computed once and kept."""
    _after(model, lambda layer, G: _write(layer.dW, vars(layer).setdefault("kept", layer.dW + 0)))


@bug(wrong="W1 W2")
def inputs_of_the_batch_before(model: Model) -> None:
    """dW is made of what the buffer of inputs held before this batch was written to it."""

    def forward(layer: Dense, right: Method, X: Array) -> Array:
        buffer = vars(layer).setdefault("buffer", np.resize(X, (1024, X.shape[1])))
        layer.old = buffer[: len(X)].copy()
        buffer[: len(X)] = X
        return right(X)

    for layer in _dense(model):
        _replace(layer, "forward", forward)
    _after(model, lambda layer, G: _write(layer.dW, layer.old.T @ G))


@bug(wrong="W1 W2")
def gradient_not_in_its_view(model: Model) -> None:
    """dW becomes a new array, and the view that the optimizer reads stays as it was."""

    def backward(layer: Dense, right: Method, G: Array) -> Array:
        view, layer.dW = layer.dW, np.empty_like(layer.dW)
        result = right(G)
        layer.dW = view
        return result

    for layer in _dense(model):
        _replace(layer, "backward", backward)


@bug(wrong="W1")
def gradient_of_zero(model: Model) -> None:
    """dW1 is zero throughout: the layer is frozen."""
    _after(model, lambda layer, G: layer.dW.fill(0), _dense(model)[0])


@bug(wrong="W2")
def not_a_number(model: Model) -> None:
    """One entry of dW2 is NaN."""
    _after(model, lambda layer, G: layer.dW.__setitem__((1, 1), np.nan), _dense(model)[1])


@bug(wrong="W1")
def not_a_number_in_float32(model: Model) -> None:
    """One entry of dW1 is NaN, in float32 alone."""
    if model.network.params.dtype == np.float32:
        _after(model, lambda layer, G: layer.dW.__setitem__((1, 1), np.nan), _dense(model)[0])


@bug(wrong="W1 W2")
def weight_decay_in_gradient(model: Model) -> None:
    """dW holds the gradient of a penalty that the loss does not have."""
    _after(model, lambda layer, G: _write(layer.dW, layer.dW + 1e-3 * layer.W))


@bug(wrong="W1 W2")
def small_entries_dropped(model: Model) -> None:
    """Entries of dW below 1% of the largest are zero, to be sent in fewer bytes."""
    _after(
        model,
        lambda layer, G: _zero(layer.dW, np.abs(layer.dW) < 0.01 * np.abs(layer.dW).max()),
    )


@bug(wrong="W1 W2")
def gradient_of_length_1(model: Model) -> None:
    """dW is divided by its norm."""
    _after(model, lambda layer, G: _scale(layer.dW, 1 / np.linalg.norm(layer.dW)))


@bug(THREE_LAYERS, wrong="W2 W3")
def two_tensors_swapped(model: Model) -> None:
    """dW2 and dW3, of one shape, are written to each other's view."""
    _, second, third, _ = _dense(model)
    second.dW, third.dW = third.dW, second.dW


# Arithmetic.


@bug()
def factor_in_float32(model: Model) -> None:
    """A factor 1 + 5e-5, in float32 alone."""
    if model.network.params.dtype == np.float32:
        _errors(model, lambda G, T, Y: G * (1 + 5e-5))


@bug(wrong="W1 W2")
def mantissa_of_13_bits(model: Model) -> None:
    """dW is rounded to 13 bits, in float32 alone."""
    if model.network.params.dtype == np.float32:
        _after(model, lambda layer, G: _write(layer.dW, _rounded(layer.dW, 13)))


@bug(wrong="W1 W2")
def half_precision(model: Model) -> None:
    """dW passes through float16."""
    _after(model, lambda layer, G: _write(layer.dW, layer.dW.astype(np.float16)))


@bug("training.dtype=float64", wrong="W1 W2")
def float32_in_float64(model: Model) -> None:
    """dW passes through float32 where all else is float64."""
    _after(model, lambda layer, G: _write(layer.dW, layer.dW.astype(np.float32)))


@bug(wrong="W1")
def race(model: Model) -> None:
    """In one call of fifty, a part of dW1 is handed over before its product is done."""
    calls = 0

    def change(layer: Dense, G: Array) -> None:
        nonlocal calls
        calls += 1
        if calls % 50 == 0:
            layer.dW[:8] = 0

    _after(model, change, _dense(model)[0])


# What is sent back to the layer before, dX.


@bug(TWO_LAYERS, wrong="W1 b1")
def weights_not_transposed(model: Model) -> None:
    """G W for G Wᵀ, in a square layer, where shapes do not tell."""
    _sent_back(model, lambda layer, G: G @ layer.W, _dense(model)[1])


@bug(wrong="W1 b1")
def one_class_sent_back(model: Model) -> None:
    """A hidden unit hears of the first of the ten classes that it feeds."""
    _sent_back(model, lambda layer, G: G[:, :1] @ layer.W.T[:1])


@bug(wrong="W1 b1")
def largest_error_sent_back(model: Model) -> None:
    """Of each image the class with the largest error alone is sent back."""

    def largest(layer: Dense, G: Array) -> Array:
        error = np.abs(G)
        return np.where(error == error.max(axis=1, keepdims=True), G, 0) @ layer.W.T

    _sent_back(model, largest)


@bug(wrong="W1 b1")
def weights_kept_from_the_first_batch(model: Model) -> None:
    """Wᵀ is copied once, for a faster product, and not when W changes."""
    _sent_back(model, lambda layer, G: G @ vars(layer).setdefault("kept", layer.W.T.copy()))


@bug(wrong="W1 b1")
def weights_in_half_precision(model: Model) -> None:
    """Wᵀ passes through float16."""
    _sent_back(model, lambda layer, G: G @ layer.W.T.astype(np.float16))


@bug(THREE_LAYERS, wrong="W1 b1")
def layer_left_out(model: Model) -> None:
    """Errors do not pass through W2: layers are counted from the wrong end."""
    _sent_back(model, lambda layer, G: G, _dense(model)[1])


@bug(TWO_LAYERS, wrong="W2 b2")
def errors_overwritten(model: Model) -> None:
    """dX takes the place of G before dW is made of it."""

    def backward(layer: Dense, right: Method, G: Array) -> Array:
        G[...] = G @ layer.W.T
        right(G)
        return G

    _replace(_dense(model)[1], "backward", backward)


# What backward changes that is not its own.


@bug()
def step_inside_backward(model: Model) -> None:
    """Each layer moves its weights before the layer below has its errors."""

    def backward(layer: Dense, right: Method, G: Array) -> Array:
        right(G)
        layer.W -= 0.1 * layer.dW
        return right(G)

    for layer in _dense(model):
        _replace(layer, "backward", backward)


@bug()
def inputs_overwritten(model: Model) -> None:
    """The first layer's backward pass uses its inputs as scratch."""
    _after(model, lambda layer, G: _scale(layer.X, 0.5), _dense(model)[0])


@bug()
def targets_overwritten(model: Model) -> None:
    """G is made in place of the targets."""

    def backward(loss: Any, right: Method, T: Array, Y: Array) -> Array:
        Y[...] = right(T, Y)
        return Y

    _replace(model.criterion, "backward", backward)


# A right gradient of another loss.


@bug(wrong="b1 b2")
def forward_without_bias(model: Model) -> None:
    """T = X W, under a gradient that has a db."""
    for layer in _dense(model):
        _replace(layer, "forward", lambda layer, right, X: _write(right(X), X @ layer.W))


@bug()
def forward_kept(model: Model) -> None:
    """The first layer computes its output again only if the batch is another array."""

    def forward(layer: Dense, right: Method, X: Array) -> Array:
        if vars(layer).get("seen") is not X:
            layer.seen, layer.kept = X, right(X).copy()
        layer.X = X
        return layer.kept.copy()

    _replace(_dense(model)[0], "forward", forward)


@bug()
def forward_with_dropout(model: Model) -> None:
    """Units are dropped in each forward pass, also where the loss has to be repeatable."""
    rng = np.random.default_rng(0)
    for layer in _activations(model):
        _replace(
            layer,
            "forward",
            lambda layer, right, T: _write(right(T), layer.Z * (rng.random(T.shape) > 0.1)),
        )


@bug()
def loss_without_one_class(model: Model) -> None:
    """The loop of the loss over classes ends one too early; that of the gradient does not."""
    _value(model, lambda right, T, Y: right(_zero(T.copy(), (slice(None), -1)), Y))


@bug()
def loss_with_mean_over_classes(model: Model) -> None:
    """The mean is taken over classes too, in the loss alone."""
    _value(model, lambda right, T, Y: right(T, Y) / T.shape[1])


@bug()
def loss_divided_by_buffer_size(model: Model) -> None:
    """The loss of a short batch is divided by the rows of the buffer."""
    _value(model, lambda right, T, Y: right(T, Y) * (len(T) / len(model.criterion._G)))


@bug()
def loss_of_clipped_logits(model: Model) -> None:
    """Logits are clipped to ±12 in the loss, against overflow, and not in the gradient."""
    _value(model, lambda right, T, Y: right(np.clip(T, -12, 12), Y))


@bug()
def loss_with_an_epsilon(model: Model) -> None:
    """log(ŷ + 1e-7), against the logarithm of 0."""

    def value(right: Method, T: Array, Y: Array) -> Any:
        P = model.probs(T)
        terms = Y * np.log(P + 1e-7) + (1 - Y) * np.log(1 - P + 1e-7)
        return (-terms.sum() / len(T)).item()

    _value(model, value)


@bug(wrong="W1 W2")
def loss_with_a_penalty(model: Model) -> None:
    """The loss has a penalty on the weights, of which the gradient knows nothing."""
    weights = model.network.weights
    _value(model, lambda right, T, Y: right(T, Y) + 5e-4 * (weights @ weights).item())


# How a bug gets in.


def _dense(model: Model) -> list[Dense]:
    return [layer for layer in model.network.layers if isinstance(layer, Dense)]


def _activations(model: Model) -> list[Activation]:
    return [layer for layer in model.network.layers if isinstance(layer, Activation)]


def _replace(owner: Any, name: str, method: Method) -> None:
    """Give one object, not its class, another method."""
    right = getattr(owner, name)
    setattr(owner, name, lambda *arguments: method(owner, right, *arguments))


def _errors(model: Model, error: Method) -> None:
    """G is what `error` makes of the right G, of T and of Y."""

    def backward(loss: Any, right: Method, T: Array, Y: Array) -> Array:
        return np.asarray(error(right(T, Y).copy(), T, Y), T.dtype)

    _replace(model.criterion, "backward", backward)


def _value(model: Model, value: Method) -> None:
    """The loss is what `value` makes of the right method, of T and of Y."""
    _replace(model.criterion, "forward", lambda loss, right, T, Y: value(right, T, Y))


def _slopes(model: Model, slope: Method, *layers: Activation) -> None:
    """The derivative of activations is what `slope` makes of the right one, of T and of Z."""

    def backward(layer: Activation, right: Method, G: Array) -> Array:
        T, Z = layer.T.copy(), layer.Z.copy()
        G *= slope(right(np.ones_like(G)), T, Z)
        return G

    for layer in layers or _activations(model):
        _replace(layer, "backward", backward)


def _after(model: Model, change: Method, *layers: Dense) -> None:
    """`change` is called with a layer and G when its dW and db are done."""

    def backward(layer: Dense, right: Method, G: Array) -> Array:
        dX = right(G)
        change(layer, G)
        return dX

    for layer in layers or _dense(model):
        _replace(layer, "backward", backward)


def _sent_back(model: Model, sent: Method, *layers: Dense) -> None:
    """dX is what `sent` makes of a layer and G."""

    def backward(layer: Dense, right: Method, G: Array) -> Array:
        right(G)
        return np.array(sent(layer, G), G.dtype)

    for layer in layers or _dense(model)[1:]:
        _replace(layer, "backward", backward)


def _write(array: Array, values: Array) -> Array:
    array[...] = values
    return array


def _scale(array: Array, factor: float) -> Array:
    array *= factor
    return array


def _zero(array: Array, where: Any) -> Array:
    array[where] = 0
    return array


def _rounded(array: Array, bits: int) -> Array:
    """Return the numbers nearest to these that have `bits` binary digits."""
    mantissa, exponent = np.frexp(array)
    return np.ldexp(np.round(np.ldexp(mantissa, bits)), exponent - bits)
