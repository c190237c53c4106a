"""Bars and sparklines in block characters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

EIGHTHS = "▏▎▍▌▋▊▉█"
LEVELS = "▁▂▃▄▅▆▇█"


def bar(share: float, width: int) -> str:
    """Return a bar of at most `width` characters for a share in [0, 1], in eighths of a block.

    A share above 0 shows at least one eighth. A share outside [0, 1] is clipped; NaN counts as 0.
    """
    if not share > 0:  # NaN too
        return ""
    eighths = max(1, round(min(share, 1.0) * width * 8))
    whole, part = divmod(eighths, 8)
    return EIGHTHS[-1] * whole + (EIGHTHS[part - 1] if part else "")


def sparkline(values: Iterable[float]) -> str:
    """Return one character per value, from the lowest (▁) to the highest (█).

    Equal values give a flat line in the middle; a value that is not finite gives a space.
    """
    numbers = [float(value) for value in values]
    finite = [number for number in numbers if math.isfinite(number)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    scale = max(abs(low), abs(high))

    def level(number: float) -> str:
        if not math.isfinite(number):
            return " "
        if low == high:
            return LEVELS[3]
        # Divided first, since the difference of two large floats may overflow.
        share = (number / scale - low / scale) / (high / scale - low / scale)
        return LEVELS[min(int(share * 8), 7)]

    return "".join(map(level, numbers))


def sampled(values: Sequence[float], width: int) -> list[float]:
    """Return at most `width` (2 or more) of the values, evenly spaced, ends included."""
    if len(values) <= width:
        return list(values)
    return [values[round(i * (len(values) - 1) / (width - 1))] for i in range(width)]
