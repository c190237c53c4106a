"""Saves checkpoints as a training does, to be watched and killed: `python saver.py RUN`.

Around each save stands a call that the system log shows; each is said to be done when it is.
"""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from mlpcli.config.settings import Config, ModelConfig
from mlpcli.errors import MlpcliError
from mlpcli.runs import checkpoint
from mlpcli.runs.checkpoint import Checkpoint
from mlpcli.runs.folder import Run

SAVES = 3  # the first, one that keeps the one before, and one that replaces that too
MARK = "/save-"


def small(step: int) -> Checkpoint:
    """Return a checkpoint of a network with four units; `step` is in each of its numbers."""
    shapes = {"W1": (3072, 4), "b1": (4,), "W2": (4, 3), "b2": (3,)}
    return Checkpoint(
        config=Config(name="small", model=ModelConfig(hidden=(4,))),
        label_names=("a", "b", "c"),
        data_digest="0" * 64,
        environment={},
        epoch=1,
        step=step,
        val_accuracy=0.5,
        val_loss=1.5,
        named_params={name: np.full(shape, step, np.float32) for name, shape in shapes.items()},
        resume_arrays={"order": np.arange(5)},
    )


def is_small(found: Checkpoint) -> bool:
    """Say whether `found` is what `small` made, to the last bit."""
    made = small(found.step)
    facts, expected_facts = (replace(c, named_params={}, resume_arrays={}) for c in (found, made))
    arrays, expected = (c.named_params | c.resume_arrays for c in (found, made))
    return (
        facts == expected_facts
        and arrays.keys() == expected.keys()
        and all(arrays[name].tobytes() == expected[name].tobytes() for name in expected)
    )


def main(run: Run) -> int:
    for step in range(1, SAVES + 1):
        saved = small(step)
        mark(f"begins-{step}")
        try:
            checkpoint.save(run.last, saved, keep_as=run.previous)
        except MlpcliError as error:
            print(f"error: {error}", file=sys.stderr)
            return error.exit_code
        mark(f"ends-{step}")
        print(f"saved {step}", flush=True)
    return 0


def mark(text: str) -> None:
    with contextlib.suppress(OSError):
        os.stat(MARK + text)  # noqa: PTH116 - one call of the system


if __name__ == "__main__":
    sys.exit(main(Run(Path(sys.argv[1]))))
