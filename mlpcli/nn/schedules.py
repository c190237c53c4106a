"""Learning-rate schedules: the factor on the learning rate at a given moment.

A moment is a real number of epochs, 0 at the first step, so the factor moves with every step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """A line from 0 up to 1 over `warmup_epochs`, then `decay`; `epochs` is the end of training."""

    epochs: float
    warmup_epochs: float = 0.0
    step_every: float = 10.0
    step_factor: float = 0.1

    def __call__(self, epoch: float) -> float:
        """Return the factor, in [0, 1], at `epoch`."""
        if epoch < self.warmup_epochs:
            return epoch / self.warmup_epochs
        return self.decay(epoch)

    def decay(self, epoch: float) -> float:
        raise NotImplementedError


class Constant(Schedule):
    """1 throughout."""

    def decay(self, epoch: float) -> float:
        return 1.0


class Cosine(Schedule):
    """Half a cosine from 1, where the warm-up ends, to 0 (Loshchilov & Hutter 2017)."""

    def decay(self, epoch: float) -> float:
        done = (epoch - self.warmup_epochs) / (self.epochs - self.warmup_epochs)
        return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


class Step(Schedule):
    """Multiplied by `step_factor` each `step_every` epochs."""

    def decay(self, epoch: float) -> float:
        return self.step_factor ** math.floor(epoch / self.step_every)


SCHEDULES: dict[str, type[Schedule]] = {"constant": Constant, "cosine": Cosine, "step": Step}
