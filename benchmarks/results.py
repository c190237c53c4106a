"""Trains every CIFAR-10 configuration, for the tables of README.md and docs/results.md.

    MLPCLI_DATA_DIR=… python benchmarks/results.py [--seeds 5] [CONFIG …]     (make results)
    python benchmarks/results.py --show                print the table, draw the learning curves

Writes results.json. Each run is `mlpcli train CONFIG` and then, once, `mlpcli eval` on the test
split. Nothing is chosen here: the configurations are as they stand. Those that train on all 50,000
images are trained once more with 5,000 of them held out, for the curve and the validation accuracy.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from mlpcli.config.loading import load
from mlpcli.environment import describe

HERE = Path(__file__).parent
CONFIGS = HERE.parent / "configs"
NAMES = ("logistic_squared", "logistic", "note", "momentum", "fast", "best", "deep")
MACHINE = ("processor", "threads", "python", "numpy", "blas")
PICTURES = HERE.parent / "docs/images"
RESULTS, PICTURE = HERE / "results.json", PICTURES / "learning_curves.svg"


def train(config: Path, *sets: str) -> dict[str, Any]:
    """Train in a process of its own; time and peak memory are those of the whole process."""
    words = [word for text in sets for word in ("--set", text)]
    command = [sys.executable, "-m", "mlpcli", "train", str(config), *words, "--json"]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        summary: dict[str, Any] = json.loads(process.stdout.read())
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)}: failed")
    seconds = round(time.perf_counter() - start, 2)
    return summary | {"process_seconds": seconds, "mebibytes": round(usage.ru_maxrss / 1024)}


def curve(run_dir: str) -> dict[str, list[float]]:
    """Seconds of training, and the validation accuracy reached by then, epoch by epoch."""
    with (Path(run_dir) / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    seconds = [float(row["seconds"]) for row in rows]
    return {
        "seconds": [round(sum(seconds[: i + 1]), 2) for i in range(len(rows))],
        "accuracy": [float(row["val/accuracy"]) for row in rows],
    }


def measure(config: Path, seeds: int) -> dict[str, Any]:
    validated = train(config, "data.val_size=5000", "seed=0")
    whole = load(config).data.val_size == 0
    runs = []
    for seed in range(seeds):
        reuse = seed == 0 and not whole
        summary = validated if reuse else train(config, f"seed={seed}")
        command = [sys.executable, "-m", "mlpcli", "eval", summary["run_dir"], "--json"]
        test = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        runs.append({"seed": seed, "test": test["accuracy"]} | pick(summary))
    facts = describe()
    return {
        "machine": {key: facts[key] for key in MACHINE},
        "validated": pick(validated),
        "curve": curve(validated["run_dir"]),
        "runs": runs,
    }


def pick(summary: dict[str, Any]) -> dict[str, Any]:
    names = ("epochs", "val_accuracy", "process_seconds", "images_per_second", "mebibytes")
    return {name: summary[name] for name in names}


def percent(values: list[float]) -> str:
    values = [100 * value for value in values]
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}"


def table(results: dict[str, Any]) -> str:
    lines = [
        "| name | epochs | validation % | test % | whole process, s | images/s | memory, MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in results.items():
        column = {key: [run[key] for run in found["runs"]] for key in found["runs"][0]}
        lines.append(
            f"| `{name}` | {max(column['epochs'])} "
            f"| {100 * found['validated']['val_accuracy']:.2f} | {percent(column['test'])} "
            f"| {statistics.median(column['process_seconds']):.1f} "
            f"| {statistics.median(column['images_per_second']):,.0f} "
            f"| {max(column['mebibytes'])} |"
        )
    return "\n".join(lines)


def short_table(results: dict[str, Any]) -> str:
    """Return the test accuracies and times of four configurations, for the README."""
    lines = ["| command | test accuracy, % | whole process, s |", "|---|---|---|"]
    for name in ("note", "fast", "best", "deep"):
        runs = results[name]["runs"]
        seconds = statistics.median(run["process_seconds"] for run in runs)
        test = percent([run["test"] for run in runs])
        lines.append(f"| `mlpcli train {name}` | {test} | {seconds:.1f} |")
    return "\n".join(lines)


def draw(results: dict[str, Any]) -> str:
    """Draw validation accuracy over seconds of training; needs matplotlib (the extra `plot`)."""
    from mlpcli.report import plots

    with plots.styled():
        figure, axes = plots.new_figure(size=(7.5, 4.2))
        for name, (light, _) in zip(results, plots.COLORS.values(), strict=False):
            curve = results[name]["curve"]
            seconds, accuracy = curve["seconds"], [100 * a for a in curve["accuracy"]]
            axes.plot(seconds, accuracy, color=light, linewidth=1.6)
            # Two of them meet.
            beside = {"logistic_squared": "bottom", "logistic": "top"}.get(name, "center")
            axes.annotate(f" {name}", (seconds[-1], accuracy[-1]), va=beside, color=light)
        axes.set_xscale("log")
        axes.set_xlim(right=axes.get_xlim()[1] * 2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("seconds of training, on two cores")
        axes.set_ylabel("validation accuracy, %")
        return plots.standing_alone(plots.svg(figure, "validation accuracy over seconds"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="*", metavar="CONFIG", choices=[*NAMES, []])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--show", action="store_true", help="train nothing")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if not options.show:
        for name in options.configs or NAMES:
            results[name] = measure(CONFIGS / f"{name}.yaml", options.seeds)
            results = {name: results[name] for name in NAMES if name in results}
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))
    PICTURE.write_text(draw(results))


if __name__ == "__main__":
    main()
