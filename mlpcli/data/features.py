"""From pixels to what the first layer sees: one affine map, fitted on training images.

Being affine, it folds into the first layer, so that a saved network takes plain pixels. Features
apply themselves, fold themselves, and make the loader of their batches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mlpcli.config.settings import AugmentConfig, FeaturesConfig
from mlpcli.data.augment import AffineMaps, Augmentation
from mlpcli.data.dataset import Split
from mlpcli.data.loader import Inputs, Loader, Mask, Rows

CHUNK = 500  # images that are converted at a time
SAMPLE = 5000  # images of which the covariance is taken, about: more did not change the accuracy
SAMPLE_CHUNK = 1000  # of these at a time: adding up two products costs as much as one product

Array = NDArray[Any]
Images = NDArray[np.uint8]
Vector = NDArray[np.float64]


class Features:
    """An affine map from pixels p in [0, 1], (3072,), to the inputs of the first layer, (size,)."""

    size: int

    def apply(self, images: Images, dtype: DTypeLike = np.float64) -> Array:
        """Return the features (N, size) of uint8 images (N, 3072)."""
        raise NotImplementedError

    def fold(self, W: Array, b: Array) -> tuple[Array, Array]:
        """Return the first layer W (size, H), b (H,) as it acts on pixels: (3072, H), (H,).

        It is folded in float64 and returned in the dtype of W.
        """
        raise NotImplementedError

    def inputs(self, images: Images, batch_size: int, dtype: DTypeLike) -> Inputs:
        """Return the features of uint8 images (N, 3072), to be gathered by rows."""
        raise NotImplementedError

    def maps(
        self, augment: AugmentConfig, batch_size: int, dtype: DTypeLike, rng: np.random.Generator
    ) -> AffineMaps | None:
        """Return the affine augmentation of these features, if there is any."""
        return None

    def loader(
        self,
        split: Split,
        classes: int,
        batch_size: int,
        dtype: DTypeLike,
        augment: AugmentConfig | None = None,
        order: np.random.Generator | None = None,
        augmentation: np.random.Generator | None = None,
    ) -> Loader:
        """Return a loader of the split in order, or of shuffled and augmented images to train on.

        The order is drawn from `order`, how each image is augmented from `augmentation`.
        """
        inputs, augmented = self.inputs(split.images, batch_size, dtype), None
        if augment is not None and augmentation is not None:
            maps = self.maps(augment, batch_size, dtype, augmentation)
            augmented = Augmentation(augment, maps, batch_size, self.size, augmentation)
        return Loader(split, inputs, classes, batch_size, dtype, order, augmented)


@dataclass(frozen=True)
class Standardized(Features):
    """x = p ∘ scale + shift; scale and shift are float64 (3072,)."""

    scale: Vector
    shift: Vector

    size = 3072

    def apply(self, images: Images, dtype: DTypeLike = np.float64) -> Array:
        X: Array = np.multiply(images, (self.scale / 255).astype(dtype))
        X += self.shift.astype(dtype)
        return X

    def fold(self, W: Array, b: Array) -> tuple[Array, Array]:
        """x W + b = (p∘s + t) W + b = p (s∘W) + (t W + b)."""
        W64 = W.astype(np.float64)
        b64 = self.shift @ W64 + b
        W64 *= self.scale[:, None]
        return W64.astype(W.dtype), b64.astype(b.dtype)

    def inputs(self, images: Images, batch_size: int, dtype: DTypeLike) -> Inputs:
        return _Pixels(self, images, batch_size, dtype)


@dataclass(frozen=True)
class Components(Features):
    """x = (p − mean) basis ∘ scale: k whitened principal components.

    basis is float32 (3072, k) with orthonormal columns, mean (3072,) and scale (k,) are float64.
    The mean is its own mirror image and each column is either its own or the negative of it, so a
    flipped image has the same features but for the signs `parity`, ±1 (k,).
    """

    basis: NDArray[np.float32]
    mean: Vector
    scale: Vector
    parity: Vector

    @property
    def size(self) -> int:  # type: ignore[override]
        return len(self.scale)

    def apply(self, images: Images, dtype: DTypeLike = np.float64) -> Array:
        matrix = (self.basis * self.scale / 255).astype(dtype)
        shift = -(self.mean @ self.basis) * self.scale
        projected = np.empty((len(images), self.size), dtype)
        pixels = np.empty((CHUNK, 3072), dtype)
        for start in range(0, len(images), CHUNK):
            part = images[start : start + CHUNK]
            pixels[: len(part)] = part
            np.dot(pixels[: len(part)], matrix, out=projected[start : start + CHUNK])
        projected += shift.astype(dtype)
        return projected

    def fold(self, W: Array, b: Array) -> tuple[Array, Array]:
        """x W + b = p V (s∘W) + (b − mean V (s∘W)) for the basis V."""
        W64 = self.basis.astype(np.float64) @ (self.scale[:, None] * W)
        return W64.astype(W.dtype), (b - self.mean @ W64).astype(b.dtype)

    def inputs(self, images: Images, batch_size: int, dtype: DTypeLike) -> Inputs:
        return _Projected(self, images, batch_size, dtype)

    def maps(
        self, augment: AugmentConfig, batch_size: int, dtype: DTypeLike, rng: np.random.Generator
    ) -> AffineMaps | None:
        if not augment.is_affine:
            return None
        return AffineMaps(augment, self.basis, self.mean, self.scale, batch_size, dtype, rng)


class _Pixels:
    """Standardized pixels, made anew from the uint8 images for each batch."""

    def __init__(
        self, features: Standardized, images: Images, batch_size: int, dtype: DTypeLike
    ) -> None:
        self._images = images
        self._scale = (features.scale / 255).astype(dtype)
        self._shift = features.shift.astype(dtype)
        self._pixels = np.empty((batch_size, 3072), np.uint8)
        self._X = np.empty((batch_size, 3072), dtype)

    def gather(self, rows: Rows, flipped: Mask | None = None) -> Array:
        n = len(rows)
        # mode="clip" writes straight to out; the default fills a whole batch of its own first.
        pixels = np.take(self._images, rows, axis=0, out=self._pixels[:n], mode="clip")
        if flipped is not None:
            lines = pixels.reshape(n, 96, 32)
            for i in np.flatnonzero(flipped):
                lines[i] = lines[i, :, ::-1]
        X = np.multiply(pixels, self._scale, out=self._X[:n])
        X += self._shift
        return X


class _Projected:
    """Components of images projected once; a flip is a change of signs."""

    def __init__(
        self, features: Components, images: Images, batch_size: int, dtype: DTypeLike
    ) -> None:
        self._projected = features.apply(images, dtype)
        self._signs = np.stack([np.ones(features.size), features.parity]).astype(dtype)
        self._X, self._S = np.empty((2, batch_size, features.size), dtype)

    def gather(self, rows: Rows, flipped: Mask | None = None) -> Array:
        n = len(rows)
        X = np.take(self._projected, rows, axis=0, out=self._X[:n], mode="clip")
        if flipped is not None:
            X *= np.take(self._signs, flipped, axis=0, out=self._S[:n], mode="clip")
        return X


PLAIN = Standardized(np.ones(3072), np.zeros(3072))


def fit(config: FeaturesConfig, split: Split) -> Features:
    """Fit the configured map on a split's images.

    `none` leaves pixels as they are; `channel` and `pixel` give mean 0 and standard deviation 1 (a
    constant pixel is only centred); `pca` finds the whitened principal components.
    """
    if config.name == "none":
        return PLAIN
    if config.name == "pca":
        return _principal_components(split, config.components, config.epsilon)
    return _standardized(split, by_channel=config.name == "channel")


def _standardized(split: Split, *, by_channel: bool) -> Standardized:
    mean, mean_square = np.zeros(3072), np.zeros(3072)
    for start in range(0, len(split), CHUNK):
        pixels = split.images[split.rows[start : start + CHUNK]].astype(np.float64)
        mean += pixels.sum(axis=0)
        mean_square += np.einsum("ij,ij->j", pixels, pixels)
    mean /= 255 * len(split)
    mean_square /= 255**2 * len(split)
    if by_channel:
        mean = np.repeat(mean.reshape(3, 1024).mean(axis=1), 1024)
        mean_square = np.repeat(mean_square.reshape(3, 1024).mean(axis=1), 1024)
    variance = mean_square - mean**2
    constant = variance < 1e-12
    scale = 1 / np.sqrt(np.where(constant, 1.0, variance))
    return Standardized(scale, -mean * scale)


def _principal_components(split: Split, count: int, epsilon: float) -> Components:
    """Find the components of the covariance of the images and their mirror images together.

    It splits into two blocks of 1536 dimensions, even and odd under the flip: with l the left half
    of an image and r the right half flipped, (l + r)/√2 and (l − r)/√2.
    """
    rows = split.rows[:: max(1, len(split) // SAMPLE)]
    mean, products = np.zeros(1536), np.zeros((2, 1536, 1536), np.float32)
    for start in range(0, len(rows), SAMPLE_CHUNK):
        images = split.images[rows[start : start + SAMPLE_CHUNK]]
        lines = images.reshape(-1, 96, 32).astype(np.float32)
        lines -= 127.5  # so that little cancels when the mean is taken from the products
        left, right = lines[:, :, :16], lines[:, :, :15:-1]
        sums, differences = (left + right).reshape(-1, 1536), (left - right).reshape(-1, 1536)
        mean += sums.sum(axis=0, dtype=np.float64)
        products[0] += sums.T @ sums
        products[1] += differences.T @ differences
    mean /= len(rows)
    products[0] -= (len(rows) * np.outer(mean, mean)).astype(np.float32)
    products *= np.float32(1 / (2 * 255**2 * len(rows)))

    (even, even_vectors), (odd, odd_vectors) = (_leading(half, count) for half in products)
    order = np.argsort(-np.concatenate([even, odd]), kind="stable")[:count]
    variances = np.maximum(np.concatenate([even, odd])[order].astype(np.float64), 0)
    parity = np.where(order < len(even), 1.0, -1.0)
    halves = np.concatenate([even_vectors, odd_vectors], axis=1)[:, order]
    return Components(
        basis=_mirrored(halves, parity) * np.float32(math.sqrt(0.5)),
        mean=_mirrored((mean[:, None] / 2 + 127.5) / 255, np.ones(1))[:, 0],
        scale=1 / np.sqrt(variances + epsilon * (variances[0] or 1.0)),
        parity=parity,
    )


def _leading(
    covariance: NDArray[np.float32], count: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the largest eigenvalues of a covariance and their eigenvectors, by subspace iteration.

    About half of the pairs that are found in each block are used, so a few products give their
    eigenvalues to about 1e-3, many times faster than the full eigenproblem. Vectors that have not
    converged are still orthonormal, and white within the subspace (Halko et al. 2011).
    """
    start = np.random.default_rng(0).standard_normal((len(covariance), count), np.float32)
    Q, _ = np.linalg.qr(covariance @ start)  # at most 1536 columns
    for _ in range(3):
        Q, _ = np.linalg.qr(covariance @ (covariance @ Q))
    variances, vectors = np.linalg.eigh(Q.T @ (covariance @ Q))
    return variances, Q @ vectors


def _mirrored(left: NDArray[Any], parity: Vector) -> NDArray[Any]:
    """Return the images (3072, n) with these left halves (1536, n), each even or odd: ±1 (n,)."""
    lines = left.reshape(96, 16, -1)
    right = (lines[:, ::-1] * parity).astype(lines.dtype)
    both: NDArray[Any] = np.concatenate([lines, right], axis=1)
    return both.reshape(3072, -1)
