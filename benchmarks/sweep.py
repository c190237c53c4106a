"""How much sooner a sweep on two workers is done than its trials one after another.

    MLPCLI_DATA_DIR=… python benchmarks/sweep.py [--rounds 3]

Writes sweep.json, from which docs/sweeps.md has its table.
The trials are those of configs/sweep.yaml with its largest momentum and two seeds. In each round
they are trained by `mlpcli sweep` on two workers, and then, or first, each by `mlpcli train` with
one thread. Times are those of whole processes, from their start to their end, and both must come to
the same figures. Beside each it says how many cores other processes had meanwhile: next to none,
at best.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from results import CONFIGS, HERE, MACHINE

from mlpcli.config.loading import to_yaml
from mlpcli.environment import describe
from mlpcli.sweep import plan as sweeps

SWEEP, RESULTS = CONFIGS / "sweep.yaml", HERE / "sweep.json"
WORKERS = 2


def write(folder: Path) -> list[Path]:
    """Write the sweep, and each of its trials as a configuration of its own."""
    plan = yaml.safe_load(SWEEP.read_text())
    plan["base"] = str(CONFIGS / plan["base"])
    plan["set"] |= {"threads": 1, "optimizer.momentum": max(plan["grid"].pop("optimizer.momentum"))}
    plan["seeds"] = [0, 1]
    (folder / "sweep.yaml").write_text(yaml.safe_dump(plan))
    paths = []
    for number, trial in enumerate(sweeps.load(folder / "sweep.yaml").trials, 1):
        paths.append(folder / f"trial-{number}.yaml")
        paths[-1].write_text(to_yaml(trial.config))
    return paths


def call(folder: Path, *arguments: object) -> tuple[float, dict[str, object]]:
    """Run mlpcli to its end; return its seconds and the document that it prints."""
    command = [sys.executable, "-m", "mlpcli", *map(str, arguments), "--json", "--quiet"]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, check=True)
    return time.perf_counter() - start, json.loads(done.stdout)


def busy() -> tuple[float, float]:
    """Seconds that all cores have worked since the machine's start, and for this process's own."""
    with Path("/proc/stat").open() as file:
        user, nice, system, _, _, *interrupts = map(int, file.readline().split()[1:8])
    times = os.times()
    own = times.user + times.system + times.children_user + times.children_system
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK"), own


def together(folder: Path, runs: str) -> tuple[float, list[object]]:
    seconds, document = call(
        folder, "sweep", "sweep.yaml", "--workers", WORKERS, "--runs-dir", runs
    )
    return seconds, [trial["val_accuracy"] for trial in document["trials"]]


def alone(folder: Path, runs: str, paths: list[Path]) -> tuple[float, list[object]]:
    calls = [call(folder, "train", path, "--runs-dir", runs) for path in paths]
    return sum(seconds for seconds, _ in calls), [summary["val_accuracy"] for _, summary in calls]


def measure(rounds: int) -> dict[str, Any]:
    times: dict[str, list[float]] = {"train": [], "sweep": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = write(folder)
        for number in range(rounds):
            found = {}
            for kind in ("sweep", "train") if number % 2 == 0 else ("train", "sweep"):
                runs = f"{kind}-{number}"
                all_before, own_before = busy()
                seconds, found[kind] = (
                    together(folder, runs) if kind == "sweep" else alone(folder, runs, paths)
                )
                all_after, own_after = busy()
                others = (all_after - all_before - own_after + own_before) / seconds
                times[kind].append(round(seconds, 2))
                line = f"round {number + 1}  {kind}  {seconds:6.1f} s  others {others:.2f} cores"
                print(line, file=sys.stderr)
            if found["sweep"] != found["train"]:
                sys.exit("a sweep and its trials alone came to different figures")
    facts = describe()
    machine = {key: facts[key] for key in MACHINE}
    return {"machine": machine, "trials": len(paths), "seconds": times}


def table(results: dict[str, Any]) -> str:
    labels = {
        "train": f"{results['trials']} trials by `mlpcli train`, one after another, one thread",
        "sweep": f"`mlpcli sweep --workers {WORKERS}`",
    }
    seconds = {kind: results["seconds"][kind] for kind in labels}
    medians = {kind: statistics.median(each) for kind, each in seconds.items()}
    lines = ["| | whole processes, s | of each round | times as fast |", "|---|---|---|---|"]
    for kind, label in labels.items():
        each = ", ".join(f"{one:.1f}" for one in seconds[kind])
        factor = medians["train"] / medians[kind]
        lines.append(f"| {label} | {medians[kind]:.1f} | {each} | {factor:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    results = measure(parser.parse_args().rounds)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
