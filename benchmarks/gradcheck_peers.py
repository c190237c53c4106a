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
from mlpcli.gradcheck.check import check_problem, make_problem
from mlpcli.nn.model import Model

SIZES, BATCH = (20, 16, 10), 8
RNG = np.random.default_rng(0)
X = RNG.standard_normal((BATCH, SIZES[0])).astype(np.float32).astype(np.float64)
Y = np.eye(SIZES[-1])[RNG.integers(SIZES[-1], size=BATCH)]
POINT = (0.5 * RNG.standard_normal(Model(SIZES).network.params.size)).astype(np.float32)

Gradient = Callable[[np.ndarray], np.ndarray]
Checker = Callable[[str | None, float], bool]


def model_at(params: np.ndarray, dtype: type) -> Model:
    model = Model(SIZES, batch_size=BATCH, dtype=dtype)
    model.network.params[...] = params
    return model


def scale_first(model: Model, delta: float) -> None:
    """dW1 is 1 + δ times what it should be: how small an error is noticed?"""
    layer = model.network.layers[0]
    right = layer.backward

    def wrong(G: np.ndarray) -> np.ndarray:
        result = right(G)
        layer.dW *= 1 + delta
        return result

    layer.backward = wrong


def make_gradient(flaw: str | None, delta: float) -> Gradient:
    """The gradient of our code, in float64 unless the flaw is one of float32."""
    dtype = np.float32 if flaw == "float32_noise" else np.float64

    def gradient(params: np.ndarray) -> np.ndarray:
        model = model_at(params, dtype)
        if flaw:
            flaws.named(flaw)(model)
        if delta:
            scale_first(model, delta)
        inputs, targets = X.astype(dtype), Y.astype(dtype)
        model.backward(model.forward(inputs), targets)
        return model.network.grads.astype(np.float64)

    return gradient


def value(params: np.ndarray) -> float:
    model = model_at(params, np.float64)
    return model.loss(model.forward(X), Y)


def by_mlpcli(flaw: str | None, delta: float) -> bool:
    problem = make_problem(model_at(POINT, np.float32), X, Y, flaw and flaws.named(flaw))
    if delta:
        scale_first(problem.model, delta)
    return check_problem(problem, np.random.default_rng(0)).passed


def torch_checker(torch: Any) -> Checker:
    def passes(flaw: str | None, delta: float) -> bool:
        gradient = make_gradient(flaw, delta)

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


def jax_checker(jax: Any) -> Checker:
    jnp = jax.numpy
    check_grads = importlib.import_module("jax.test_util").check_grads
    cuts = np.cumsum([20 * 16, 16 * 10, 16])  # W1, W2, b1, b2: as in Network.params

    def plain(params: Any) -> Any:
        W1, W2, b1, b2 = jnp.split(params, cuts)
        z = jax.nn.sigmoid(X @ W1.reshape(20, 16) + b1)
        t = z @ W2.reshape(16, 10) + b2
        return jnp.sum(jax.nn.softplus(t) - t * Y) / BATCH

    def passes(flaw: str | None, delta: float) -> bool:
        gradient = make_gradient(flaw, delta)
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


def scipy_checker(_: Any) -> Checker:
    check_grad = importlib.import_module("scipy.optimize").check_grad
    point = POINT.astype(np.float64)
    right = check_grad(value, make_gradient(None, 0.0), point)
    return lambda flaw, delta: check_grad(value, make_gradient(flaw, delta), point) <= 10 * right


def measure(passes: Checker) -> tuple[float, dict[str, bool], bool, float | None]:
    """Median seconds of a check, which flaws are caught, whether the right one passes, least δ."""
    times, caught = [], {}
    for _ in range(3):
        for flaw in FLAWS:
            start = time.perf_counter()
            caught[flaw] = not passes(flaw, 0.0)
            times.append(time.perf_counter() - start)
    least = None
    for power in range(1, 16):
        if passes(None, 10.0**-power):
            break
        least = 10.0**-power
    return statistics.median(times), caught, passes(None, 0.0), least


def main() -> None:
    warnings.simplefilter("ignore")
    checkers: dict[str, Checker] = {"mlpcli gradcheck": by_mlpcli}
    for name, package, make in [
        ("torch.autograd.gradcheck", "torch", torch_checker),
        ("jax.test_util.check_grads", "jax", jax_checker),
        ("scipy.optimize.check_grad", "scipy", scipy_checker),
    ]:
        with contextlib.suppress(ImportError):
            module = importlib.import_module(package)
            checkers[f"{name} {module.__version__}"] = make(module)
            continue
        print(f"{name}: not installed")

    print(
        "| checker | flaws found | missed | right gradient | smallest error found | ms per check |"
    )
    print("|---|---|---|---|---|---|")
    for name, passes in checkers.items():
        passes(None, 0.0)  # warm up
        seconds, caught, right, least = measure(passes)
        missed = ", ".join(flaw for flaw, found in caught.items() if not found)
        noticed = "none" if least is None else f"{least:.0e}"
        print(f"| {name} | {sum(caught.values())} of {len(FLAWS)} | {missed or '–'} ", end="")
        print(
            f"| {'passes' if right else 'fails'} | {noticed} | {1000 * seconds:.0f} |", flush=True
        )
    facts = describe()
    print(f"\n{facts['processor']}, Python {facts['python']}, NumPy {facts['numpy']}.")


if __name__ == "__main__":
    main()
