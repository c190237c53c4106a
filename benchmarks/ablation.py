"""What each part of a recipe is worth: a configuration without that part, on validation images.

    MLPCLI_DATA_DIR=… python benchmarks/ablation.py [--seeds 3] [fast best]

Writes ablation.json, from which docs/results.md has its table. The test images are not read.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from results import CONFIGS, curve, percent, train

from mlpcli.config.loading import load

RESULTS = Path(__file__).parent / "ablation.json"

NO_MAPS = ("augment.shift=0", "augment.rotation=0", "augment.zoom=0")
PARTS: dict[str, dict[str, tuple[str, ...]]] = {
    "fast": {
        "unchanged": (),
        "no flips": ("augment.flips=false",),
        "no affine augmentation": NO_MAPS,
        "half as many components": ("features.components=96",),
        "twice as many components": ("features.components=384",),
    },
    "best": {
        "unchanged": (),
        "translation only": NO_MAPS[1:],
        "no affine augmentation": NO_MAPS,
        "no weight decay": ("optimizer.weight_decay=0",),
    },
}
EPOCHS = {"fast": None, "best": 80}  # fewer than configured: one part beside another


def accuracy(name: str, sets: tuple[str, ...], seed: int) -> float:
    """Train, and return the validation accuracy of the last epoch, not of the luckiest."""
    shorter = () if EPOCHS[name] is None else (f"training.epochs={EPOCHS[name]}",)
    texts = ("data.val_size=5000", f"seed={seed}", *shorter, *sets)
    return curve(train(CONFIGS / f"{name}.yaml", *texts)["run_dir"])["accuracy"][-1]


def table(results: dict[str, Any]) -> str:
    lines = ["| configuration | epochs | part | validation % |", "|---|---|---|---|"]
    for name, found in results.items():
        for part, accuracies in found["parts"].items():
            epochs = found["epochs"]
            lines.append(f"| `{name}` | {epochs} | {part} | {percent(accuracies)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="*", choices=[*PARTS, []])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    for name in options.configs or PARTS:
        parts = {
            part: [accuracy(name, sets, seed) for seed in range(options.seeds)]
            for part, sets in PARTS[name].items()
        }
        epochs = EPOCHS[name] or load(CONFIGS / f"{name}.yaml").training.epochs
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        results[name] = {"epochs": epochs, "parts": parts}
        results = {name: results[name] for name in PARTS if name in results}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(table(json.loads(RESULTS.read_text())))


if __name__ == "__main__":
    main()
