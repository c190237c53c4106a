"""From pixels to what the first layer sees: one affine map, fitted on training images.

Being affine, it folds into the first layer, so that a saved network takes plain pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpcli.cifar10.dataset import Split

CHUNK = 500  # images at a time


@dataclass(frozen=True)
class Features:
    """x = pixels · scale + shift, for pixels in [0, 1]; scale and shift are float64 (3072,)."""

    scale: NDArray[np.float64]
    shift: NDArray[np.float64]

    def fold(self, W: NDArray[Any], b: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the first layer W (3072, H), b (H,) as it acts on pixels, folded in float64.

        x W + b = (p∘s + t) W + b = p (s∘W) + (t W + b), in the dtype of W.
        """
        W64 = W.astype(np.float64)
        b64 = self.shift @ W64 + b
        W64 *= self.scale[:, None]
        return W64.astype(W.dtype), b64.astype(b.dtype)


def fit(standardize: str, split: Split) -> Features:
    """Fit the map on a split's images: `none`, or mean 0 and deviation 1 by `channel` or `pixel`.

    A pixel that never changes is only centred.
    """
    if standardize == "none":
        return Features(np.ones(3072), np.zeros(3072))
    mean, mean_square = np.zeros(3072), np.zeros(3072)
    for start in range(0, len(split), CHUNK):
        pixels = split.images[split.rows[start : start + CHUNK]].astype(np.float64)
        mean += pixels.sum(axis=0)
        mean_square += np.einsum("ij,ij->j", pixels, pixels)
    mean /= 255 * len(split)
    mean_square /= 255**2 * len(split)
    if standardize == "channel":
        mean = np.repeat(mean.reshape(3, 1024).mean(axis=1), 1024)
        mean_square = np.repeat(mean_square.reshape(3, 1024).mean(axis=1), 1024)
    variance = mean_square - mean**2
    constant = variance < 1e-12
    scale = 1 / np.sqrt(np.where(constant, 1.0, variance))
    return Features(scale, -mean * scale)
