"""The numbers that a run records: their types and ranges, by which files of others are read."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Quantity:
    """A number from 0 to `most`; an `int` is a whole number, a `float` may be one."""

    kind: type[int] | type[float]
    most: float
    or_none: bool = False

    def holds(self, value: object) -> bool:
        """Whether a value is of this type and in this range; NaN never is."""
        if value is None:
            return self.or_none
        if type(value) is not self.kind and type(value) is not int:
            return False
        return 0 <= value <= self.most

    def __str__(self) -> str:
        kind = "a whole number" if self.kind is int else "a number"
        none = " or none" if self.or_none else ""
        return f"{kind} from 0 to {self.most:g}{none}"


def optional(quantity: Quantity) -> Quantity:
    """Return the quantity of a run that may have none, as a loss without validation."""
    return replace(quantity, or_none=True)


COUNT = Quantity(int, 10**15)  # of epochs, steps or images: exact as a float
ACCURACY = Quantity(float, 1)
SECONDS = Quantity(float, 1e12)
FINITE = Quantity(float, sys.float_info.max)  # a loss, a learning rate, images per second
