"""Moved images: shifts, turns and stretches of the pixel grid, as linear maps between components.

A warp samples each pixel between four others, so it is linear in the image, p ↦ p S. Between
components, for which p ≈ mean + x ∘ scale⁻¹ Vᵀ, it is x ↦ x M + m with

    M = scale⁻¹ Vᵀ S V scale        m = (mean S − mean) V scale

so that a training image is moved for k² multiplications, and no pixel is touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mlpcli.config.settings import AugmentConfig
from mlpcli.data.features import Components

COUNT = 128  # warps, drawn once: enough that each image is seldom moved alike twice
CENTRE = 15.5  # of the grid of 32×32 pixels


@dataclass(frozen=True)
class Warps:
    """x ↦ x M + m, for each warp: `matrices` (N, k, k) and `offsets` (N, k)."""

    matrices: NDArray[Any]
    offsets: NDArray[Any]

    def __len__(self) -> int:
        return len(self.matrices)


def draw(
    config: AugmentConfig, features: Components, dtype: DTypeLike, rng: np.random.Generator
) -> Warps:
    """Draw warps within the configured bounds, each bound for both directions alike."""
    k = features.size
    images = np.concatenate([features.basis.T, features.mean[None].astype(np.float32)])
    planes = images.reshape(-1, 1024)  # three an image
    project = features.basis * features.scale.astype(np.float32)
    matrices, offsets = np.empty((COUNT, k, k), dtype), np.empty((COUNT, k), dtype)
    for i in range(COUNT):
        angle = np.radians(rng.uniform(-config.rotation, config.rotation))
        stretch = (1 + config.zoom) ** rng.uniform(-1, 1, 2)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        sampling = sampling_matrix(turn * stretch, rng.uniform(-config.shift, config.shift, 2))
        moved = (planes @ sampling).reshape(-1, 3072)
        matrices[i] = moved[:-1] @ project / features.scale[:, None]
        offsets[i] = (moved[-1] - images[-1]) @ project
    return Warps(matrices, offsets)


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
