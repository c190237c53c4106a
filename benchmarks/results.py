"""Trains every CIFAR-10 configuration and prints the README's table of results.

    MLPCLI_DATA_DIR=… python benchmarks/results.py [--seeds 3] [CONFIG …]

Each row is `mlpcli train CONFIG` and then, once, `mlpcli eval` on the test split. Nothing is chosen
here: the configurations are as they stand.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from mlpcli.environment import describe

CONFIGS = Path(__file__).parent.parent / "configs"
NAMES = ("logistic_squared", "logistic", "note", "momentum")


def mlpcli(*arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "mlpcli", *map(str, arguments), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def measure(config: Path, seed: int) -> dict[str, float]:
    start = time.perf_counter()
    summary = mlpcli("train", config, "--set", f"seed={seed}")
    seconds = time.perf_counter() - start  # of the whole process, from Python's start to its end
    test = mlpcli("eval", summary["run_dir"])
    return {
        "epochs": summary["epochs"],
        "val": 100 * summary["val_accuracy"],
        "test": 100 * test["accuracy"],
        "seconds": seconds,
        "rate": summary["images_per_second"],
    }


def spread(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="*", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    configs = options.configs or [CONFIGS / f"{name}.yaml" for name in NAMES]

    print("| command | epochs | validation % | test % | whole process, s | images/s |")
    print("|---|---|---|---|---|---|")
    for config in configs:
        runs = [measure(config, seed) for seed in range(options.seeds)]
        column = {key: [run[key] for run in runs] for key in runs[0]}
        print(
            f"| `mlpcli train configs/{config.name}` | {max(column['epochs'])} "
            f"| {spread(column['val'])} | {spread(column['test'])} "
            f"| {statistics.median(column['seconds']):.0f} "
            f"| {statistics.median(column['rate']):,.0f} |",
            flush=True,
        )
    facts = describe()
    print(
        f"\n{facts['processor']}, {facts['threads']} threads, Python {facts['python']}, "
        f"NumPy {facts['numpy']}, BLAS {facts['blas']}; seeds 0 to {options.seeds - 1}, mean ± "
        "standard deviation of accuracies, median of times."
    )


if __name__ == "__main__":
    main()
