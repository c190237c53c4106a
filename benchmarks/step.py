"""Times one training step of 3072-512-10, batch 128, with momentum: mlpcli, its limit, its peers.

    python benchmarks/step.py [--rounds 5] [--json]     (scikit-learn, torch, jax if installed)

Every program gathers the same batches from the same uint8 images, standardizes them, and does the
same arithmetic from the same initial weights; each runs in a process of its own, in turn. `floor`
is the two large matrix products alone, which no NumPy program can do without. The losses of the
last 10 of 50 steps must agree to 1e-4 of themselves, or nothing is printed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from mlpcli.environment import describe, set_threads

B, D, H, K = 128, 3072, 512, 10
LEARNING_RATE, MOMENTUM = 0.1, 0.9
IMAGES, SEED = 50_000, 0
CHECKED, COMPARED, TIMED = 50, 10, 200  # steps

Step = Callable[[Any], float | None]  # takes the rows of a batch, returns its loss


class Problem:
    """Images, labels, standardization, initial weights and batches, the same in each process."""

    def __init__(self) -> None:
        import numpy as np

        from mlpcli.config.settings import PixelsConfig
        from mlpcli.data import features
        from mlpcli.data.dataset import Split

        rng = np.random.default_rng(SEED)
        self.images = rng.integers(0, 256, (IMAGES, D), np.uint8)
        self.labels = rng.integers(0, K, IMAGES)
        self.split = Split(self.images, self.labels, np.arange(IMAGES))
        fitted = features.fit(PixelsConfig("pixel"), self.split)
        self.scale = (fitted.scale / 255).astype(np.float32)
        self.shift = fitted.shift.astype(np.float32)
        self.one_hot = np.eye(K, dtype=np.float32)
        limits = [(6 / (D + H)) ** 0.5, (6 / (H + K)) ** 0.5]
        self.W1 = rng.uniform(-limits[0], limits[0], (D, H)).astype(np.float32)
        self.W2 = rng.uniform(-limits[1], limits[1], (H, K)).astype(np.float32)
        self.b1, self.b2 = np.zeros(H, np.float32), np.zeros(K, np.float32)

    def batches(self) -> Iterator[Any]:
        import numpy as np

        order = np.arange(IMAGES)
        np.random.default_rng(SEED).shuffle(order)
        for start in range(0, IMAGES - B + 1, B):
            yield order[start : start + B]


def floor(problem: Problem) -> Step:
    import numpy as np

    X, G = np.ones((B, D), np.float32), np.ones((B, H), np.float32)
    T, dW = np.empty((B, H), np.float32), np.empty((D, H), np.float32)

    def step(rows: Any) -> None:
        np.dot(X, problem.W1, out=T)
        np.dot(X.T, G, out=dW)

    return step


def naive(problem: Problem) -> Step:
    """NumPy as one writes it down: every line makes its arrays anew."""
    import numpy as np

    P = [problem.W1, problem.b1, problem.W2, problem.b2]
    V = [np.zeros_like(p) for p in P]

    def step(rows: Any) -> float:
        X = problem.images[rows] * problem.scale + problem.shift
        Y = problem.one_hot[problem.labels[rows]]
        Z = 1 / (1 + np.exp(-(X @ P[0] + P[1])))
        T = Z @ P[2] + P[3]
        loss = (np.maximum(T, 0) - T * Y + np.log1p(np.exp(-np.abs(T)))).sum() / B
        G2 = (1 / (1 + np.exp(-T)) - Y) / B
        G1 = G2 @ P[2].T * Z * (1 - Z)
        for i, gradient in enumerate((X.T @ G1, G1.sum(0), Z.T @ G2, G2.sum(0))):
            V[i] = MOMENTUM * V[i] + gradient
            P[i] -= LEARNING_RATE * V[i]
        return float(loss)

    return step


def sklearn(problem: Problem) -> Step:
    """MLPClassifier given COMPARED batches at a time, so that its checks of input weigh little."""
    import numpy as np
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(
        (H,),
        activation="logistic",
        solver="sgd",
        alpha=0,
        batch_size=B,
        learning_rate_init=LEARNING_RATE,
        momentum=MOMENTUM,
        nesterovs_momentum=False,
        shuffle=False,
    )
    some = problem.images[:B] * problem.scale
    model.partial_fit(some, problem.one_hot[np.arange(B) % K], classes=np.arange(K))
    del model._optimizer
    model.coefs_, model.intercepts_ = [problem.W1, problem.W2], [problem.b1, problem.b2]
    waiting: list[Any] = []

    def step(rows: Any) -> float | None:
        waiting.append(rows)
        if len(waiting) < COMPARED:
            return None
        rows = np.concatenate(waiting)
        waiting.clear()
        X = problem.images[rows] * problem.scale + problem.shift
        model.partial_fit(X, problem.one_hot[problem.labels[rows]])
        return float(model.loss_)  # their mean

    return step


def torch(problem: Problem, *, compiled: bool = False) -> Step:
    import torch

    torch.set_num_threads(describe()["threads"])
    images, labels = torch.from_numpy(problem.images), torch.from_numpy(problem.labels)
    scale, shift = torch.from_numpy(problem.scale), torch.from_numpy(problem.shift)
    one_hot = torch.from_numpy(problem.one_hot)
    P = [
        torch.from_numpy(p).requires_grad_()
        for p in (problem.W1, problem.b1, problem.W2, problem.b2)
    ]
    optimizer = torch.optim.SGD(P, LEARNING_RATE, MOMENTUM, fused=True)

    def forward(X: Any, Y: Any) -> Any:
        Z = torch.sigmoid(torch.addmm(P[1], X * scale + shift, P[0]))
        T = torch.addmm(P[3], Z, P[2])
        bce = torch.nn.functional.binary_cross_entropy_with_logits
        return bce(T, Y, reduction="sum") / B

    if compiled:
        forward = torch.compile(forward)

    def step(rows: Any) -> float:
        index = torch.from_numpy(rows)
        X = images.index_select(0, index)
        optimizer.zero_grad()
        loss = forward(X, one_hot[labels[index]])
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def torch_compiled(problem: Problem) -> Step:
    return torch(problem, compiled=True)


def jax(problem: Problem) -> Step:
    from functools import partial

    import jax
    import jax.numpy as jnp

    images, labels = jnp.asarray(problem.images), jnp.asarray(problem.labels)
    scale, shift = jnp.asarray(problem.scale), jnp.asarray(problem.shift)

    def loss_of(P: Any, X: Any, Y: Any) -> Any:
        T = jax.nn.sigmoid(X @ P[0] + P[1]) @ P[2] + P[3]
        return (jnp.maximum(T, 0) - T * Y + jnp.log1p(jnp.exp(-jnp.abs(T)))).sum() / B

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(P: Any, V: Any, images: Any, rows: Any) -> Any:
        X = images[rows] * scale + shift
        loss, G = jax.value_and_grad(loss_of)(P, X, jax.nn.one_hot(labels[rows], K))
        V = [MOMENTUM * v + g for v, g in zip(V, G, strict=True)]
        return [p - LEARNING_RATE * v for p, v in zip(P, V, strict=True)], V, loss

    P = [jnp.asarray(p) for p in (problem.W1, problem.b1, problem.W2, problem.b2)]
    state = [P, [jnp.zeros_like(p) for p in P]]

    def step(rows: Any) -> float:
        state[0], state[1], loss = update(state[0], state[1], images, rows)
        return float(loss)

    return step


PEERS = {  # by name: the program, and the package that it needs
    "floor": (floor, "numpy"),
    "mlpcli": (None, "numpy"),
    "jax jit": (jax, "jax"),
    "torch eager": (torch, "torch"),
    "torch compiled": (torch_compiled, "torch"),
    "numpy, naive": (naive, "numpy"),
    "scikit-learn": (sklearn, "sklearn"),
}


def run_peer(name: str) -> dict[str, Any]:
    problem, losses = Problem(), []
    step = PEERS[name][0](problem)
    batches = problem.batches()
    for _ in range(CHECKED):
        losses.append(step(next(batches)))
    start = time.perf_counter()
    for _ in range(TIMED):
        step(next(batches))
    return report(losses, time.perf_counter() - start)


def run_mlpcli() -> dict[str, Any]:
    """The very loop that `mlpcli train` runs, with the common weights put in."""
    import numpy as np

    from mlpcli.config import settings as config
    from mlpcli.config.settings import Config
    from mlpcli.data.dataset import Dataset, Split
    from mlpcli.training.trainer import Progress, Training

    problem = Problem()
    nothing = Split(problem.images, problem.labels, np.arange(0))
    names = tuple(str(k) for k in range(K))
    settings = Config(
        data=config.Cifar10Config(val_size=0),
        features=config.PixelsConfig("pixel"),
        optimizer=config.SGDConfig(learning_rate=LEARNING_RATE, momentum=MOMENTUM),
    )
    training = Training(settings, Dataset({"train": problem.split, "val": nothing}, names, ""))
    for name, view in training.model.network.named_params.items():
        view[...] = getattr(problem, name)
    training.streams["order"].bit_generator.state = np.random.default_rng(SEED).bit_generator.state
    sums, times = [0.0], {}

    def on_step(progress: Progress) -> None:
        sums.append(progress.loss_sum / B)
        times[progress.step] = time.perf_counter()

    next(training.epochs(on_step))
    losses = list(np.diff(sums[: CHECKED + 1]))
    return report(losses, times[CHECKED + TIMED] - times[CHECKED])


def report(losses: list[float | None], seconds: float) -> dict[str, Any]:
    last = [loss for loss in losses[-COMPARED:] if loss is not None]
    return {
        "loss": statistics.mean(last) if last else None,
        "milliseconds": 1000 * seconds / TIMED,
        "mebibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def measure(name: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--worker", name]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    set_threads(None)
    if options.worker:
        run = run_mlpcli if options.worker == "mlpcli" else lambda: run_peer(options.worker)
        print(json.dumps(run()))
        return

    absent = [n for n, (_, package) in PEERS.items() if not importlib.util.find_spec(package)]
    present = [name for name in PEERS if name not in absent]
    rounds = [{name: measure(name) for name in present} for _ in range(options.rounds)]
    for name in present:
        losses = [each[name]["loss"] for each in rounds]
        ours = rounds[0]["mlpcli"]["loss"]
        if name != "floor" and not all(math.isclose(a, ours, rel_tol=1e-4) for a in losses):
            sys.exit(f"{name}: its losses {losses} are not mlpcli's, {ours}")

    table = {
        name: {
            key: statistics.median(each[name][key] for each in rounds)
            for key in ("milliseconds", "mebibytes")
        }
        for name in present
    }
    facts = describe() | {package: version(package) for package in ("sklearn", "torch", "jax")}
    if options.json:
        print(json.dumps({"table": table, "rounds": rounds, "absent": absent, "machine": facts}))
        return
    print("| program | ms per step | images/s | to the floor | peak memory, MiB |")
    print("|---|---|---|---|---|")
    for name, row in sorted(table.items(), key=lambda item: item[1]["milliseconds"]):
        print(
            f"| {name} | {row['milliseconds']:.2f} | {1000 * B / row['milliseconds']:,.0f} "
            f"| {row['milliseconds'] / table['floor']['milliseconds']:.2f} "
            f"| {row['mebibytes']:.0f} |"
        )
    print(
        f"\nMedians of {options.rounds} rounds, in turn. "
        + ", ".join(
            f"{key} {facts[key]}" for key in ("processor", "threads", "python", "numpy", "blas")
        )
        + "".join(f", {p} {facts[p]}" for p in ("sklearn", "torch", "jax") if facts[p])
    )
    for name in absent:
        print(f"{name}: absent, not installed")


def version(package: str) -> str | None:
    from importlib import metadata

    name = {"sklearn": "scikit-learn"}.get(package, package)
    return metadata.version(name) if importlib.util.find_spec(package) else None


if __name__ == "__main__":
    main()
