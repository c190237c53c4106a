"""The gradient check: passes what is right, catches each way to be wrong, and says why."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import SHIPPED
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpcli.config import loading as config
from mlpcli.data.dataset import load_train_val
from mlpcli.gradcheck import FLAWS, flaws
from mlpcli.gradcheck.check import Report, _verdict, check, check_model
from mlpcli.nn.activations import ACTIVATIONS
from mlpcli.nn.losses import LOSSES
from mlpcli.nn.model import Model
from mlpcli.nn.optimizers import SGD

EVERYWHERE = {"W1", "b1", "W2", "b2"}


def report(
    flaw: str | Callable[[Model], None] | None = None,
    *,
    sizes: tuple[int, ...] = (30, 14, 10),
    activation: str = "sigmoid",
    loss: str = "sigmoid_cross_entropy",
    batch: int = 8,
    dtype: type = np.float32,
    seed: int = 0,
    scale: float = 0.5,
) -> Report:
    """Check a random network with the flaw in it."""
    rng = np.random.default_rng(seed)
    model = Model(sizes, activation, loss, batch, dtype)
    model.network.params[...] = scale * rng.standard_normal(model.network.params.size)
    X = rng.standard_normal((batch, sizes[0])).astype(dtype)
    Y = np.eye(sizes[-1], dtype=dtype)[rng.integers(sizes[-1], size=batch)]
    flaw = flaws.named(flaw) if isinstance(flaw, str) else flaw
    return check_model(model, X, Y, rng, flaw=flaw)


def wrong(found: Report) -> dict[str, str]:
    """The tensors that failed, each with the reason given."""
    return {t.name: t.reason or "" for t in found.tensors if t.passed is False}


@pytest.mark.slow
@settings(max_examples=200)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=5).map(tuple),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    loss=st.sampled_from(sorted(LOSSES)),
    batch=st.integers(1, 5),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_right_network_is_flagged(
    sizes: tuple[int, ...], activation: str, loss: str, batch: int, dtype: type, seed: int
) -> None:
    found = report(
        sizes=sizes, activation=activation, loss=loss, batch=batch, dtype=dtype, seed=seed
    )
    assert found.passed is not False, [(t, t.failures) for t in found.tensors]


@pytest.mark.parametrize(
    ("flaw", "tensors", "reason"),
    [
        ("sign", EVERYWHERE, "the sign is flipped"),
        ("missing_mean", EVERYWHERE, "a factor n = 8: the mean over the batch is missing"),
        ("missing_bias", {"b1", "b2"}, "the bias gradient is missing"),
        ("missing_derivative", {"W1", "b1"}, "the activation's derivative is missing"),
        ("transposed_weight", {"W1", "b1"}, "a weight matrix that is not transposed"),
        ("doubled_entry", {"W1"}, "one entry of 420 is wrong: ["),
        ("float32_noise", EVERYWHERE, "right in float64"),
    ],
)
@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_flaw_is_caught_and_named(
    flaw: str, tensors: set[str], reason: str, activation: str, loss: str
) -> None:
    found = wrong(report(flaw, activation=activation, loss=loss))
    assert set(found) == tensors
    assert all(reason in text for text in found.values()), found


def test_every_flaw_that_the_command_line_offers_is_tested() -> None:
    marks = test_every_flaw_is_caught_and_named.pytestmark
    (cases,) = (mark.args[1] for mark in marks if mark.args[0][0] == "flaw")
    assert [case[0] for case in cases] == list(FLAWS)


@pytest.mark.slow
def test_one_doubled_entry_among_a_million_and_a_half_is_found() -> None:
    sizes = (3072, 512, 10)
    found = report("doubled_entry", sizes=sizes, scale=0.03)
    assert set(wrong(found)) == {"W1"}
    assert "one entry of 1572864 is wrong" in wrong(found)["W1"]
    assert "direction" in found.tensors[0].failures


def test_a_wrong_optimizer_is_no_wrong_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SGD, "_step", lambda self, learning_rate: None)
    assert report().passed


def test_a_tiny_gradient_is_judged_as_a_large_one_is() -> None:
    """Below saturated layers: a sign error has no floor to hide under."""
    right = report(sizes=(6, 5, 5, 4), scale=12.0, seed=3, dtype=np.float64)
    assert right.passed
    assert abs(right.tensors[0].complex_step.worst_numeric) < 1e-9
    assert "W1" in wrong(report("sign", sizes=(6, 5, 5, 4), scale=12.0, seed=3, dtype=np.float64))


def sure(loss: str, dtype: type, certainty: float) -> tuple[Model, np.ndarray, np.ndarray]:
    """A network that knows its batch by heart, with logits of ± `certainty`, and the batch."""
    rng = np.random.default_rng(0)
    model = Model((6, 8, 4), "tanh", loss, 4, dtype)
    model.network.params[...] = rng.standard_normal(model.network.params.size)
    X, Y, P = rng.standard_normal((4, 6)).astype(dtype), np.eye(4, dtype=dtype), model.network
    P.named_params["b1"][...] = 0
    weights = np.linalg.pinv(np.tanh(X @ P.named_params["W1"])) @ Y
    P.named_params["W2"][...] = 2 * certainty * weights
    P.named_params["b2"][...] = -certainty
    return model, X, Y


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("dtype", "certainty"),
    [(np.float32, 20), (np.float32, 60), (np.float64, 60), (np.float64, 200)],
)
def test_errors_that_are_nothing_but_rounding_are_inconclusive(
    loss: str, dtype: type, certainty: float
) -> None:
    found = check_model(*sure(loss, dtype, certainty), np.random.default_rng(0))
    assert found.passed is None, [(t, t.failures) for t in found.tensors]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_gradient_of_zero_confirms_nothing_and_a_flaw_shows_at_large_weights(dtype: type) -> None:
    problem = sure("sigmoid_cross_entropy", dtype, 60)
    flawed = check_model(*problem, np.random.default_rng(0), flaw=flaws.sign)
    assert set(wrong(flawed)) == EVERYWHERE
    assert flawed.tensors[0].direction.batch == "batch of 4, large weights"


def test_the_weights_of_dead_units_are_inconclusive() -> None:
    model, X, Y = sure("softmax_cross_entropy", np.float32, 1)
    dead = Model((6, 8, 4), "relu", "softmax_cross_entropy", 4, np.float32)
    dead.network.params[...] = model.network.params
    dead.network.named_params["b1"][...] = -100
    verdicts = {t.name: t.passed for t in check_model(dead, X, Y, np.random.default_rng(0)).tensors}
    assert verdicts == {"W1": None, "b1": None, "W2": None, "b2": True}


def test_inputs_of_zero_have_a_gradient_of_zero_and_that_is_confirmed() -> None:
    model, X, Y = sure("softmax_cross_entropy", np.float32, 1)
    found = {t.name: t for t in check_model(model, 0 * X, Y, np.random.default_rng(0)).tensors}
    assert (found["W1"].passed, found["W1"].direction.error) == (True, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("depth", [2, 5])
def test_vanishing_gradients_are_confirmed_and_a_wrong_one_is_seen(depth: int, dtype: type) -> None:
    sizes = (30, *(16,) * depth, 10)
    assert report(sizes=sizes, dtype=dtype, scale=1.0).passed is True
    for factor in (1.006, 1 + 5e-5):
        flawed = report(scaled_by(factor), sizes=sizes, dtype=dtype, scale=1.0)
        assert wrong(flawed) == {"W1": f"a factor {factor:.6g}"}


def scaled_by(factor: float) -> Callable[[Model], None]:
    """A flaw: dW1 is `factor` times what it should be."""

    def flaw(model: Model) -> None:
        layer = model.network.layers[0]
        right = layer.backward

        def backward(G: np.ndarray) -> np.ndarray:
            result = right(G)
            layer.dW *= factor
            return result

        layer.backward = backward

    return flaw


def test_a_comparison_confirms_what_agrees_or_has_a_small_limit() -> None:
    def judged(error: float, scale: float, rounding: float) -> bool | None:
        return _verdict(error, scale, 1e-12, lambda: rounding, "").passed

    assert judged(1e-13, 1, math.inf) is True  # exact agreement, whatever rounding could have done
    assert judged(1e-9, 1, 1e-8) is True
    assert judged(1e-7, 1, 1e-8) is False
    assert judged(1e-3, 1, 0.1) is None
    assert judged(0.2, 1, 0.1) is False
    assert judged(0, 0, 1e-20) is None
    assert judged(0, 0, 0) is True
    assert judged(math.nan, 1, 1e-8) is False


def test_kinks_are_counted_and_not_held_against_a_relu() -> None:
    model = Model((3, 2, 2), "relu", "softmax_cross_entropy", 1, np.float64)
    model.network.params[...] = 1.0
    model.network.named_params["W1"][...] = np.array([[1.0, 1], [-1, 1], [0, 1]])
    model.network.named_params["b1"][...] = 1e-9  # the first unit stands at its kink
    X, Y = np.array([[1.0, 1.0, 0.5]]), np.array([[1.0, 0.0]])
    found = check_model(model, X, Y, np.random.default_rng(0))
    assert found.passed is not False
    assert sum(t.central.kinks for t in found.tensors) > 0


def test_the_slope_is_2_for_a_right_gradient_and_1_for_the_notes() -> None:
    for flaw, slope in ((None, 2), ("sign", 1)):
        for tensor in report(flaw).tensors:
            assert tensor.slope == pytest.approx(slope, abs=0.05)


def test_a_step_against_the_notes_gradient_climbs() -> None:
    right, notes = report(), report("sign")
    assert right.loss_after_step < right.loss < notes.loss_after_step


def test_the_check_leaves_the_network_as_it_was() -> None:
    rng = np.random.default_rng(0)
    model = Model((5, 4, 3), "tanh", "squared_error", 2, np.float64)
    model.network.params[...] = rng.standard_normal(model.network.params.size)
    before = model.network.params.copy()
    check_model(model, rng.normal(size=(2, 5)), np.eye(3)[:2], rng)
    np.testing.assert_array_equal(model.network.params, before)


@pytest.mark.slow
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_configurations_are_right_to_rounding(path: Path, shapes_dir: Path) -> None:
    settings = config.load(
        path, ["data.name=cifar10", f"data.dir={shapes_dir}", "data.val_size=50"]
    )
    for tensor in check(settings, load_train_val(settings.data)).tensors:
        assert tensor.passed
        entries = tensor.complex_step
        assert entries.error <= 1e-14
        worst = abs(entries.worst_analytic - entries.worst_numeric) / abs(entries.worst_numeric)
        assert worst <= 1e-10
        assert tensor.slope == pytest.approx(2, abs=0.05)


def after_backward(change: Callable[[Model, int], None]) -> Callable[[Model], None]:
    """A flaw: `change` is called after each backward pass, with the number of examples."""

    def flaw(model: Model) -> None:
        right = model.network.backward

        def backward(G: np.ndarray) -> None:
            right(G)
            change(model, len(G))

        model.network.backward = backward

    return flaw


def test_what_is_wrong_in_one_kind_of_batch_is_said() -> None:
    def by_buffer(model: Model, n: int) -> None:
        model.network.grads *= n / model.batch_size

    found = wrong(report(after_backward(by_buffer), batch=20))
    assert found == dict.fromkeys(
        EVERYWHERE,
        "a factor 7/20: divided by the buffer's examples, not the batch's "
        "(batch of 7 after one of 20)",
    )


def test_a_gradient_that_differs_now_and_then_is_wrong() -> None:
    calls: dict[int, int] = {}

    def race(model: Model, n: int) -> None:
        calls[id(model)] = calls.get(id(model), 0) + 1
        if calls[id(model)] == 30:
            model.network.named_grads["W1"][0] *= 1.001

    found = report(after_backward(race))
    place = "(batch of 4 after one of 8)"
    assert wrong(found) == {"W1": f"one of 50 gradients of a batch differs {place}"}
    assert found.tensors[0].failures == ("repeated",)


def test_a_forward_pass_that_is_not_analytic_is_seen_by_differences() -> None:
    """The loss is blind to |b1|, of which the complex step sees the real part alone."""

    def flaw(model: Model) -> None:
        right, b = model.criterion.forward, model.network.named_params["b1"]
        model.criterion.forward = lambda T, Y: right(T, Y) + float(np.abs(b).sum())

    found = report(flaw)
    assert set(wrong(found)) == {"b1"}
    assert wrong(found)["b1"].startswith("a second backward pass agrees with it")
    assert set(found.tensors[1].failures) == {"central differences", "Taylor slope"}


def test_what_is_wrong_in_the_training_dtype_alone_is_said() -> None:
    def single(model: Model, n: int) -> None:
        if model.network.params.dtype == np.float32:
            model.network.named_grads["b2"] *= 1 + 5e-5

    found = report(after_backward(single))
    assert wrong(found) == {
        "b2": "right in float64: the arithmetic of the training dtype is at fault"
    }
    assert found.tensors[3].failures == ("training dtype",)


def test_a_batch_holds_every_class_even_if_the_configured_one_cannot(shapes_dir: Path) -> None:
    sets = (f"data.dir={shapes_dir}", "data.val_size=50", "training.batch_size=1")
    own = config.load(SHIPPED[0].parent / "logistic.yaml", sets)

    def one_class_twice(model: Model) -> None:
        right = model.criterion.backward
        model.criterion.backward = lambda T, Y: right(T, Y) * (1 + Y[:, 7:8])

    found = check(own, load_train_val(own.data), flaw=one_class_twice)
    assert set(wrong(found)) == {"W1", "b1"}
