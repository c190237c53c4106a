"""Changes of bytes, as a failing disk or a patient enemy makes them."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable, Iterator, Sequence

from faults.rows import Case


def mutations(seed: int, attempt: Callable[[str], None]) -> Iterator[Case]:
    """Yield random cases for ever, each named after its own seed."""
    for i in itertools.count():
        yield f"mutation {seed}-{i}", functools.partial(attempt, f"{seed}-{i}")


def mutated(rng: random.Random, raw: bytes, spots: Sequence[int]) -> bytes:
    """Change bytes in one to four places, half of them among `spots`, where fields begin."""
    data = bytearray(raw)
    for _ in range(rng.randint(1, 4)):
        at, other = (rng.choice((rng.choice(spots), rng.randrange(len(raw)))) for _ in range(2))
        length = rng.choice((1, 1, 2, 4, rng.randrange(1, 600)))
        match rng.randrange(8):
            case 0:  # a bit flipped
                data[at : at + 1] = bytes(
                    byte ^ 1 << rng.randrange(8) for byte in data[at : at + 1]
                )
            case 1:  # a byte set
                data[at : at + 1] = rng.randbytes(1)
            case 2:  # what begins elsewhere, here
                data[at : at + 1] = raw[other : other + 1]
            case 3:  # a length at its limits
                data[at : at + 4] = rng.choice((bytes(4), b"\xff" * 4, b"\xff\xff\xff\x7f"))
            case 4:  # cut out
                del data[at : at + length]
            case 5:  # cut off
                del data[at:]
            case 6:  # put in, from elsewhere or from nowhere
                data[at:at] = rng.choice((raw[other : other + length], rng.randbytes(length)))
            case 7:  # written over
                data[at : at + length] = raw[other : other + length]
    return bytes(data)
