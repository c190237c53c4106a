"""Augmentation: random flips, affine maps of the pixel grid, and dropout of inputs.

An affine map samples each pixel between four others, so it is linear in the image, p ↦ p S. Between
principal components, for which p ≈ mean + x ∘ scale⁻¹ Vᵀ, it is x ↦ x M + m with

    M = scale⁻¹ Vᵀ S V scale        m = (mean S − mean) V scale

so that a training image is translated, rotated and scaled for k² multiplications.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mlpcli.config.settings import AugmentConfig

Array = NDArray[Any]

COUNT = 128  # maps, drawn once: enough that an image seldom has the same one twice
GROUP = 16  # images of a batch that share a map: one matrix product
CENTRE = 15.5  # of the grid of 32×32 pixels


class Augmentation:
    """Random flips, affine maps and dropout of the inputs of a batch, as configured."""

    def __init__(
        self,
        config: AugmentConfig,
        maps: AffineMaps | None,
        batch_size: int,
        size: int,
        rng: np.random.Generator,
    ) -> None:
        """Make the buffers for batches of `batch_size` inputs of `size` numbers."""
        self._maps, self._rng, self._p = maps, rng, np.float32(config.input_dropout)
        self._draws = np.empty(batch_size) if config.flips else None
        self._M = np.empty((2, batch_size, size), np.float32) if config.input_dropout else None

    def flipped(self, n: int) -> NDArray[np.bool_] | None:
        """Return which of n images are flipped, each with probability ½; None for no flips."""
        return None if self._draws is None else self._rng.random(out=self._draws)[:n] < 0.5

    def apply(self, X: Array) -> Array:
        """Return the inputs X (n, size), mapped and with some entries dropped, perhaps in place.

        Dropout is X ∘ M, where M is 0 with probability p, else 1/(1 − p) (Srivastava et al. 2014).
        """
        if self._maps is not None:
            X = self._maps.apply(X)
        if self._M is not None:
            draws, M = self._M
            self._rng.random(out=draws, dtype=np.float32)
            np.greater_equal(draws, self._p, out=M)
            M *= 1 / (1 - self._p)
            X *= M[: len(X)]
        return X


class AffineMaps:
    """x ↦ x M + m of components, for each map: `matrices` (N, k, k) and `offsets` (N, k)."""

    def __init__(
        self,
        config: AugmentConfig,
        basis: NDArray[np.float32],
        mean: Array,
        scale: Array,
        batch_size: int,
        dtype: DTypeLike,
        rng: np.random.Generator,
    ) -> None:
        """Draw the maps within the configured bounds, each bound for both directions alike.

        `basis` (3072, k), `mean` (3072,) and `scale` (k,) are those of the components.
        """
        k = len(scale)
        images = np.concatenate([basis.T, mean[None].astype(np.float32)])
        planes = images.reshape(-1, 1024)  # three per image
        project = basis * scale.astype(np.float32)
        self._rng, self._Z = rng, np.empty((batch_size, k), dtype)
        self.matrices, self.offsets = np.empty((COUNT, k, k), dtype), np.empty((COUNT, k), dtype)
        for i in range(COUNT):
            angle = np.radians(rng.uniform(-config.rotation, config.rotation))
            zoom = (1 + config.zoom) ** rng.uniform(-1, 1, 2)
            rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            sampling = sampling_matrix(rotation * zoom, rng.uniform(-config.shift, config.shift, 2))
            mapped = (planes @ sampling).reshape(-1, 3072)
            self.matrices[i] = mapped[:-1] @ project / scale[:, None]
            self.offsets[i] = (mapped[-1] - images[-1]) @ project

    def apply(self, X: Array) -> Array:
        """Return components X (n, k), each GROUP of rows mapped by a map drawn for it."""
        Z = self._Z[: len(X)]
        which = self._rng.integers(len(self.matrices), size=math.ceil(len(X) / GROUP))
        for start, i in zip(range(0, len(X), GROUP), which, strict=True):
            group = slice(start, start + GROUP)
            np.dot(X[group], self.matrices[i], out=Z[group])
            Z[group] += self.offsets[i]
        return Z


def sampling_matrix(linear: NDArray[Any], shift: NDArray[Any]) -> NDArray[np.float32]:
    """Return S (1024, 1024): pixel q of p S is the plane p at linear (q − c) + c + shift.

    Places are (row, column), c is the centre. Between four pixels p is bilinear; outside the image
    it is its nearest pixel.
    """
    grid = np.indices((32, 32)).reshape(2, -1)
    place = linear @ (grid - CENTRE) + CENTRE + shift[:, None]
    place = np.clip(place, 0, 31)
    low = np.minimum(place.astype(int), 30)
    share = place - low  # of the next pixel, in [0, 1]
    S = np.zeros((1024, 1024), np.float32)
    to = np.arange(1024)
    for down in (0, 1):
        for right in (0, 1):
            corner = np.array([[down], [right]])
            weight = np.prod(np.where(corner, share, 1 - share), axis=0)
            S[32 * (low[0] + down) + low[1] + right, to] += weight
    return S
