"""Inputs: what the first layer sees of a batch of images, gathered into buffers made once."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mlpcli.data.augment import Warps
from mlpcli.data.features import CHUNK, Components, Features, Standardized

Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]

GROUP = 16  # images of a batch that are moved alike: one product of matrices


class Draw(NamedTuple):
    """Which images a batch is made of, and how each is varied."""

    rows: Rows  # (B,)
    mirrored: Mask | None = None  # (B,)
    warps: Rows | None = None  # one for each GROUP of the batch


class Inputs(Protocol):
    """What the first layer sees of a set of images."""

    def gather(self, draw: Draw) -> NDArray[Any]:
        """Return the inputs (B, D) of the drawn images, valid until the next call."""


class PixelInputs:
    """Standardized pixels, made anew from the uint8 images for each batch."""

    def __init__(
        self,
        images: NDArray[np.uint8],
        features: Standardized,
        batch_size: int,
        dtype: DTypeLike,
    ) -> None:
        self._images = images
        self._scale = (features.scale / 255).astype(dtype)
        self._shift = features.shift.astype(dtype)
        self._pixels = np.empty((batch_size, 3072), np.uint8)
        self._X = np.empty((batch_size, 3072), dtype)

    def gather(self, draw: Draw) -> NDArray[Any]:
        n = len(draw.rows)
        # mode="clip" writes straight to out; the default would fill a whole batch of its own first.
        pixels = np.take(self._images, draw.rows, axis=0, out=self._pixels[:n], mode="clip")
        if draw.mirrored is not None:
            lines = pixels.reshape(n, 96, 32)
            for i in np.flatnonzero(draw.mirrored):
                lines[i] = lines[i, :, ::-1]
        X = np.multiply(pixels, self._scale, out=self._X[:n])
        X += self._shift
        return X


class ComponentInputs:
    """Principal components, projected once; a mirrored image is a change of signs."""

    def __init__(
        self,
        images: NDArray[np.uint8],
        features: Components,
        batch_size: int,
        dtype: DTypeLike,
        warps: Warps | None = None,
    ) -> None:
        self._projected = project(images, features, dtype)
        self._signs = np.stack([np.ones(features.size), features.parity]).astype(dtype)
        self._warps = warps
        self._X, self._Z = np.empty((2, batch_size, features.size), dtype)

    def gather(self, draw: Draw) -> NDArray[Any]:
        n = len(draw.rows)
        X, Z = self._X[:n], self._Z[:n]
        np.take(self._projected, draw.rows, axis=0, out=X, mode="clip")
        if draw.mirrored is not None:
            X *= np.take(self._signs, draw.mirrored, axis=0, out=Z, mode="clip")
        if draw.warps is None or self._warps is None:
            return X
        for start, warp in zip(range(0, n, GROUP), draw.warps, strict=True):
            group = slice(start, start + GROUP)
            np.dot(X[group], self._warps.matrices[warp], out=Z[group])
            Z[group] += self._warps.offsets[warp]
        return Z


class Dropout:
    """Inputs ∘ M, where M is 0 with probability p and 1/(1 − p) else (Srivastava et al. 2014)."""

    def __init__(
        self, inputs: Inputs, p: float, batch_size: int, size: int, rng: np.random.Generator
    ) -> None:
        self._inputs, self._p, self._rng = inputs, p, rng
        self._draws, self._M = np.empty((2, batch_size if p else 0, size), np.float32)

    def gather(self, draw: Draw) -> NDArray[Any]:
        X = self._inputs.gather(draw)
        if self._p:
            draws = self._rng.random(out=self._draws, dtype=np.float32)[: len(X)]
            M = np.greater_equal(draws, np.float32(self._p), out=self._M[: len(X)])
            M *= 1 / (1 - self._p)
            X *= M
        return X


def inputs_of(
    images: NDArray[np.uint8],
    features: Features,
    batch_size: int,
    dtype: DTypeLike,
    warps: Warps | None = None,
) -> Inputs:
    """Return the inputs that these features make of the images, a batch at a time."""
    if isinstance(features, Components):
        return ComponentInputs(images, features, batch_size, dtype, warps)
    return PixelInputs(images, features, batch_size, dtype)


def project(
    images: NDArray[np.uint8], features: Components, dtype: DTypeLike = np.float64
) -> NDArray[Any]:
    """Return the features (N, k) of uint8 images (N, 3072)."""
    matrix = (features.basis * features.scale / 255).astype(dtype)
    shift = -(features.mean @ features.basis) * features.scale
    projected = np.empty((len(images), features.size), dtype)
    pixels = np.empty((CHUNK, 3072), dtype)
    for start in range(0, len(images), CHUNK):
        part = images[start : start + CHUNK]
        pixels[: len(part)] = part
        np.dot(pixels[: len(part)], matrix, out=projected[start : start + CHUNK])
    projected += shift.astype(dtype)
    return projected
