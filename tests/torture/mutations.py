"""Changes of bytes, as a failing disk or a patient enemy makes them."""

from __future__ import annotations

import random
from collections.abc import Sequence


def mutated(data: bytes, rng: random.Random, places: Sequence[int] = ()) -> bytes:
    """Return `data` with one to four changes, preferably at `places`, where its structure is."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        size = len(changed)
        at = rng.choice(places) if places and rng.random() < 0.7 else rng.randrange(size + 1)
        at = min(at + rng.choice([0, 0, 0, 1, 2, 3]), size)
        length = min(rng.choice([1, 2, 4, 8, 64, 1024]), size - at)
        match rng.randrange(7):
            case 0 if at < size:
                changed[at] ^= 1 << rng.randrange(8)
            case 1 if at < size:
                changed[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
            case 2:  # a number of any width, at one of its limits
                width = rng.choice([1, 2, 4, 8])
                changed[at : at + width] = rng.choice([b"\0", b"\xff", b"\x7f"]) * width
            case 3:
                del changed[at : at + length]
            case 4:
                changed[at:at] = rng.randbytes(length)
            case 5:
                start = rng.randrange(size + 1)
                changed[at:at] = changed[start : start + length]
            case _:
                del changed[at:]
        if not changed:
            break
    return bytes(changed)
