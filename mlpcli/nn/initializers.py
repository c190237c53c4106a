"""Initial weights (D, H), drawn in float64; biases start at zero."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def glorot(D: int, H: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Uniform with variance 2/(D + H) (Glorot & Bengio 2010)."""
    limit = np.sqrt(6 / (D + H))
    return rng.uniform(-limit, limit, (D, H))


def he(D: int, H: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Normal with variance 2/D, made for ReLU (He et al. 2015)."""
    return rng.normal(0, np.sqrt(2 / D), (D, H))


def lecun(D: int, H: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Normal with variance 1/D (LeCun et al. 1998)."""
    return rng.normal(0, np.sqrt(1 / D), (D, H))


Initializer = Callable[[int, int, np.random.Generator], NDArray[np.float64]]
INITIALIZERS: dict[str, Initializer] = {"glorot": glorot, "he": he, "lecun": lecun}
