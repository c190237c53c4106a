"""The legs of a training: a start and its resumptions, and the commands that repeat them.

Imports no NumPy.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mlpcli.config.settings import Config
from mlpcli.quantities import COUNT, optional

AGAIN = "again"  # the folder in which the commands train


@dataclass(frozen=True)
class Leg:
    """A start of a run, or a resumption, and what it was to be trained for."""

    from_epoch: int  # epochs that were finished
    epochs: int  # training.epochs
    patience: int | None  # training.patience
    extended: bool  # whether other epochs changed the schedule of a run that had finished
    command: str


def parse(content: object) -> list[Leg]:
    """Return the legs that a JSON file lists; raises ValueError where they are none."""
    if not isinstance(content, list):
        raise ValueError("legs are not a list")
    return [_leg(each) for each in content]


def _leg(content: object) -> Leg:
    try:
        leg = Leg(**content) if isinstance(content, dict) else None
    except TypeError:
        leg = None
    if leg is None or not (
        COUNT.holds(leg.from_epoch)
        and COUNT.holds(leg.epochs)
        and optional(COUNT).holds(leg.patience)
        and isinstance(leg.extended, bool)
        and isinstance(leg.command, str)
    ):
        raise ValueError(f"{repr(content)[:40]} is not a leg of a training")
    return leg


def spans(legs: Sequence[Leg], epoch: int) -> list[dict[str, Any]]:
    """Return the legs with the epochs to which they were trained, the last to `epoch`.

    What a leg had trained beyond the checkpoint from which the next was resumed is not counted.
    """
    ends = [*(leg.from_epoch for leg in legs[1:]), epoch][: len(legs)]
    return [asdict(leg) | {"to_epoch": end} for leg, end in zip(legs, ends, strict=True)]


def commands(legs: Sequence[Leg], config: Config, file: Path) -> list[str]:
    """Return the commands that train a run of the configuration in `file` to the same bits.

    Resumptions repeat nothing: only a run that was extended needs more than one command.
    """
    chain: list[Leg] = []
    for leg in legs:
        if leg.extended:  # perhaps once more, after a crash or from an earlier checkpoint
            while len(chain) > 1 and chain[-1].from_epoch >= leg.from_epoch:
                chain.pop()
            chain.append(leg)
            continue
        while len(chain) > 1 and leg.epochs < chain[-1].epochs:
            chain.pop()  # resumed from a checkpoint of before the run was extended
        last = chain.pop() if chain else leg
        chain.append(replace(last, epochs=leg.epochs, patience=leg.patience))
    if len(chain) < 2:
        return [shlex.join(["mlpcli", "train", str(file)])]
    found = []
    for i, leg in enumerate(chain):
        settings = [f"training.epochs={leg.epochs}"]
        if any(each.patience != config.training.patience for each in chain):
            patience = "null" if leg.patience is None else leg.patience
            settings.append(f"training.patience={patience}")
        run = f"{AGAIN}/{config.name}-1"
        first, later = [str(file), "--runs-dir", AGAIN], ["--resume", run, "--extend"]
        found.append(shlex.join(["mlpcli", "train", *(later if i else first), *settings]))
    return found
