"""Holds `mlpcli gradcheck` against the checkers in use today, each at its default settings.

    python benchmarks/gradcheck_peers.py          (torch, jax and scipy if they are installed)

All check the same gradients of the same network, 20-16-10 sigmoid cross-entropy on 8 examples: the
right one, and those that mlpcli's own flaws make. A peer is given the flat parameters, the loss,
and our gradient in the place of its own. A flaw counts as caught if the verdict is not a pass;
scipy's check_grad has no verdict, so there it is a figure over ten times the right gradient's.
"""

from __future__ import annotations

import contextlib
import importlib
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from mlpcli.environment import describe
from mlpcli.gradcheck import FLAWS, flaws
from mlpcli.gradcheck.check import check_model
from mlpcli.nn.model import Model

SIZES, BATCH = (20, 16, 10), 8
RNG = np.random.default_rng(0)
X = RNG.standard_normal((BATCH, SIZES[0])).astype(np.float32)
Y = np.eye(SIZES[-1], dtype=np.float32)[RNG.integers(SIZES[-1], size=BATCH)]
POINT = (0.5 * RNG.standard_normal(Model(SIZES).network.params.size)).astype(np.float32)

Gradient = Callable[[np.ndarray], np.ndarray]
Flaw = Callable[[Model], None]
Checker = Callable[[Flaw | None], bool]


def model_at(params: np.ndarray, dtype: type) -> Model:
    model = Model(SIZES, batch_size=BATCH, dtype=dtype)
    model.network.params[...] = params
    return model


def scaled(delta: float, dtype: type) -> Flaw:
    """dW1 is 1 + δ times what it should be, in one dtype alone: how small an error is found?"""

    def flaw(model: Model) -> None:
        layer = model.network.layers[0]
        right = layer.backward

        def wrong(G: np.ndarray) -> np.ndarray:
            result = right(G)
            layer.dW *= 1 + delta
            return result

        if model.network.params.dtype == dtype:
            layer.backward = wrong

    return flaw


def make_gradient(flaw: Flaw | None, dtype: type) -> Gradient:
    """The gradient of our code in a dtype, with the flaw in it."""

    def gradient(params: np.ndarray) -> np.ndarray:
        model = model_at(params, dtype)
        if flaw:
            flaw(model)
        model.backward(model.forward(X.astype(dtype)), Y.astype(dtype))
        return model.network.grads.astype(np.float64)

    return gradient


def value(params: np.ndarray) -> float:
    model = model_at(params, np.float64)
    return model.loss(model.forward(X.astype(np.float64)), Y)


def mlpcli_checker(_: type) -> Checker:
    model = model_at(POINT, np.float32)  # a float64 gradient is checked on the way
    return lambda flaw: check_model(model, X, Y, np.random.default_rng(0), flaw=flaw).passed is True


def torch_checker(torch: Any, dtype: type) -> Checker:
    def passes(flaw: Flaw | None) -> bool:
        gradient = make_gradient(flaw, dtype)

        class Ours(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, params: Any) -> Any:
                ctx.save_for_backward(params)
                return torch.tensor(value(params.detach().numpy()), dtype=torch.float64)

            @staticmethod
            def backward(ctx: Any, above: Any) -> Any:
                (params,) = ctx.saved_tensors
                return above * torch.from_numpy(gradient(params.detach().numpy()))

        point = torch.tensor(POINT, dtype=torch.float64, requires_grad=True)
        return bool(torch.autograd.gradcheck(Ours.apply, (point,), raise_exception=False))

    return passes


def jax_checker(jax: Any, dtype: type) -> Checker:
    jnp = jax.numpy
    check_grads = importlib.import_module("jax.test_util").check_grads
    cuts = np.cumsum([20 * 16, 16 * 10, 16])  # W1, W2, b1, b2: as in Network.params

    def plain(params: Any) -> Any:
        W1, W2, b1, b2 = jnp.split(params, cuts)
        z = jax.nn.sigmoid(X @ W1.reshape(20, 16) + b1)
        t = z @ W2.reshape(16, 10) + b2
        return jnp.sum(jax.nn.softplus(t) - t * Y) / BATCH

    def passes(flaw: Flaw | None) -> bool:
        gradient = make_gradient(flaw, dtype)
        ours = jax.custom_vjp(plain)

        def backward(params: Any, above: Any) -> Any:
            like = jax.ShapeDtypeStruct(params.shape, params.dtype)
            host = partial(_as, gradient, params.dtype)
            return (above * jax.pure_callback(host, like, params),)

        ours.defvjp(lambda params: (plain(params), params), backward)
        try:
            check_grads(ours, (jnp.asarray(POINT),), order=1, modes=("rev",))
        except AssertionError:
            return False
        return True

    return passes


def _as(gradient: Gradient, dtype: Any, params: Any) -> np.ndarray:
    return gradient(np.asarray(params)).astype(dtype)


def scipy_checker(_: Any, dtype: type) -> Checker:
    check_grad = importlib.import_module("scipy.optimize").check_grad
    point = POINT.astype(np.float64)
    right = check_grad(value, make_gradient(None, dtype), point)
    return lambda flaw: check_grad(value, make_gradient(flaw, dtype), point) <= 10 * right


def measure(make: Callable[[type], Checker]) -> list[str]:
    """Return a row: flaws found and missed, the right gradient, the least errors found, time."""
    times, missed, right = [], [], True
    for dtype in (np.float64, np.float32):
        passes = make(dtype)
        right &= passes(None)
        for flaw in FLAWS:
            if (flaw == "float32_noise") == (dtype == np.float32):
                for _ in range(3):
                    start = time.perf_counter()
                    found = not passes(flaws.named(flaw))
                    times.append(time.perf_counter() - start)
                missed += [] if found else [flaw]
    least = [least_found(make(dtype), dtype) for dtype in (np.float64, np.float32)]
    return [
        f"{len(FLAWS) - len(missed)} of {len(FLAWS)}",
        ", ".join(missed) or "–",
        "passes" if right else "fails",
        *least,
        f"{1000 * statistics.median(times):.0f}",
    ]


def least_found(passes: Checker, dtype: type) -> str:
    """Return the least power of ten whose δ does not pass, though the right gradient does."""
    if not passes(None):
        return "–"
    least = None
    for power in range(1, 16):
        if passes(scaled(10.0**-power, dtype)):
            break
        least = 10.0**-power
    return "none" if least is None else f"{least:.0e}"


def main() -> None:
    warnings.simplefilter("ignore")
    checkers: dict[str, Callable[[type], Checker]] = {"mlpcli gradcheck": mlpcli_checker}
    for name, package, make in [
        ("torch.autograd.gradcheck", "torch", torch_checker),
        ("jax.test_util.check_grads", "jax", jax_checker),
        ("scipy.optimize.check_grad", "scipy", scipy_checker),
    ]:
        with contextlib.suppress(ImportError):
            module = importlib.import_module(package)
            checkers[f"{name} {module.__version__}"] = partial(make, module)
            continue
        print(f"{name}: not installed")

    least = "smallest error found"
    print("| checker | flaws found | missed | right gradient ", end="")
    print(f"| {least}, float64 | {least}, float32 | ms per check |\n|---|---|---|---|---|---|---|")
    for name, make in checkers.items():
        make(np.float64)(None)  # warm up
        print("|", " | ".join([name, *measure(make)]), "|", flush=True)
    facts = describe()
    print(f"\n{facts['processor']}, Python {facts['python']}, NumPy {facts['numpy']}.")


if __name__ == "__main__":
    main()
