"""The backward passes that are checked: which batches, in which memory, how often."""

from __future__ import annotations

import numpy as np
import pytest

from mlpcli.gradcheck.passes import REPEATS, Weights, saturated
from mlpcli.gradcheck.reference import forward
from mlpcli.nn.model import Model

N = 20


def model_and_batch(
    activation: str = "tanh", dtype: type = np.float32, batch_size: int = 32, n: int = N
) -> tuple[Model, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    model = Model((6, 5, 4), activation, "softmax_cross_entropy", batch_size, dtype)
    model.network.params[...] = rng.standard_normal(model.network.params.size)
    X = rng.standard_normal((n, 6)).astype(dtype)
    return model, (X, np.eye(4, dtype=dtype)[rng.integers(4, size=n)])


def weights(flaw: object = None, **options: object) -> Weights:
    are_large = bool(options.pop("are_large", False))
    model, batch = model_and_batch(**options)  # type: ignore[arg-type]
    rng = np.random.default_rng(1)
    return Weights(model, batch, rng, flaw, are_large=are_large)  # type: ignore[arg-type]


def test_a_whole_batch_shorter_ones_and_the_first_again() -> None:
    model, (X, Y) = model_and_batch()
    exact = model.in_dtype(np.float64, 32)
    passes = weights().passes()
    assert [p.batch for p in passes] == [
        "batch of 20",
        "batch of 7 after one of 20",
        "batch of 1 after one of 20",
        "batch of 20 again",
    ]
    assert not any(p.is_saturated or p.crosses_kinks for p in passes)
    for p, rows in zip(passes, (20, 7, 1, 20), strict=True):
        x, y = X[-rows:], Y[-rows:]
        exact.backward(exact.forward(x.astype(np.float64)), y.astype(np.float64))
        model.backward(model.forward(x), y)
        assert p.derivatives.X.shape == (rows, 6)
        for name, gradient in exact.network.named_grads.items():
            np.testing.assert_allclose(p.gradients[name], gradient, rtol=1e-12, atol=1e-16)
            np.testing.assert_allclose(
                p.in_training_dtype[name], model.network.named_grads[name], rtol=1e-5, atol=1e-8
            )
            assert p.rounding()[name].shape == gradient.shape
        assert p.rounding() is p.rounding()


@pytest.mark.parametrize(
    ("n", "shorter"), [(1, [1]), (2, [1]), (3, [2, 1]), (12, [6, 1]), (13, [7, 1]), (20, [7, 1])]
)
def test_short_batches_are_shorter_where_they_can_be(n: int, shorter: list[int]) -> None:
    first, *middle, last = weights(n=n).passes()
    assert [len(p.derivatives.X) for p in middle] == shorter
    assert len(first.derivatives.X) == len(last.derivatives.X) == n


def test_all_memory_but_the_parameters_is_nan_at_first() -> None:
    seen: list[Model] = []

    def flaw(model: Model) -> None:
        network = model.network
        assert np.isnan(network.grads).all()
        assert np.isfinite(network.params).all()
        for owner in (*network.layers, model.criterion):
            buffers = [
                v for k, v in vars(owner).items() if isinstance(v, np.ndarray) and k[0] == "_"
            ]
            assert buffers
            assert all(np.isnan(buffer).all() for buffer in buffers)
            assert {len(buffer) for buffer in buffers} == {32}
        seen.append(model)

    weights(flaw)
    assert [m.network.params.dtype for m in seen] == [np.float64, np.float32, np.complex128]


def test_a_pass_that_changes_its_inputs_changes_those_of_the_next() -> None:
    def flaw(model: Model) -> None:
        layer = model.network.layers[0]
        right = layer.backward

        def backward(G: np.ndarray) -> np.ndarray:
            result = right(G)
            layer.X[...] = 7
            return result

        layer.backward = backward  # type: ignore[method-assign]

    first, *_, again = weights(flaw).passes()
    for gradients in ("gradients", "in_training_dtype"):
        assert not np.allclose(getattr(first, gradients)["W1"], getattr(again, gradients)["W1"])
    assert first.derivatives.X.max() < 7


def test_what_is_furthest_from_the_first_of_many_passes_is_kept() -> None:
    calls = 0

    def flaw(model: Model) -> None:
        layer = model.network.layers[0]
        right = layer.backward

        def backward(G: np.ndarray) -> np.ndarray:
            nonlocal calls
            result = right(G)
            if model.network.params.dtype == np.float32:
                calls += 1
                layer.dW[0] *= {10: 3.0, 20: 1.5}.get(calls, 1.0)
                layer.db *= np.nan if calls == 30 else 1.0
            return result

        layer.backward = backward  # type: ignore[method-assign]

    flawed = weights(flaw)
    short = flawed.passes()[1]
    first, furthest = short.in_training_dtype, flawed.repeated(short)
    assert calls == 4 + REPEATS
    np.testing.assert_allclose(furthest["W1"][0], 3 * first["W1"][0], rtol=1e-6)
    np.testing.assert_array_equal(furthest["W1"][1:], first["W1"][1:])
    assert np.isnan(furthest["b1"]).all()
    np.testing.assert_array_equal(furthest["W2"], first["W2"])


def test_a_unit_that_only_one_dtype_finds_active_is_told() -> None:
    model, (X, Y) = model_and_batch("relu", n=1)
    model.network.named_params["W1"][...] = 0
    model.network.named_params["W1"][:, 0] = [1, 1e-9, 0, 0, 0, 0]
    model.network.named_params["b1"][...] = [-1, 1, 1, 1, 1]
    X[...] = 1  # 1 + 1e-9 − 1 is above 0 in float64 alone
    for dtype, crosses in ((np.float32, True), (np.float64, False)):
        batch = (X.astype(dtype), Y.astype(dtype))
        own = Weights(model.in_dtype(dtype, 32), batch, np.random.default_rng(0), None)
        assert [p.crosses_kinks for p in own.passes()] == [crosses] * 3


def test_large_weights_saturate_units_and_predictions() -> None:
    model, (X, _) = model_and_batch()
    large = saturated(model, X)
    assert large.batch_size == 32
    for T in forward(large.network, X.astype(np.float64)).T:
        assert np.sqrt(np.square(T).mean()) == pytest.approx(8, rel=1e-5)
    for i in (1, 2):
        ratios = [
            large.network.named_params[f"{k}{i}"] / model.network.named_params[f"{k}{i}"]
            for k in "Wb"
        ]
        np.testing.assert_allclose(
            np.concatenate([r.ravel() for r in ratios]), ratios[1][0], rtol=1e-5
        )
    own = weights(are_large=True)
    for copy in (own.model, own.training_model, own.in_complex):
        np.testing.assert_allclose(copy.network.params, large.network.params, rtol=1e-6)
    passes = own.passes()
    assert all(p.is_saturated and p.batch.endswith(", large weights") for p in passes)
    model.network.params[...] = 0
    assert not saturated(model, X).network.params.any()


def test_a_step_against_the_gradient_lowers_the_loss_by_a_thousandth() -> None:
    own = weights(dtype=np.float64)
    gradients = own.passes()[0].gradients
    before, after = own.losses_around_a_step(gradients)
    model, (X, Y) = model_and_batch(dtype=np.float64)
    assert before == pytest.approx(model.loss(model.forward(X), Y))
    assert after == pytest.approx(0.999 * before, rel=1e-4)
    same, unmoved = weights(dtype=np.float64).losses_around_a_step(
        {k: 0 * g for k, g in gradients.items()}
    )
    assert same == unmoved == before
