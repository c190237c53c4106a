"""From pixels to what the first layer sees: one affine map, fitted on training images.

Being affine, it folds into the first layer, so that a saved network takes plain pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpcli.config.settings import FeaturesConfig
from mlpcli.data.dataset import Split

CHUNK = 500  # images at a time
SAMPLE = 5000  # images, about, that a covariance is taken from: more changed no accuracy,
SAMPLE_CHUNK = 1000  # so many at a time, since a sum of products costs as much as a product

Vector = NDArray[np.float64]
Folded = tuple[NDArray[Any], NDArray[Any]]


@dataclass(frozen=True)
class Standardized:
    """x = p ∘ scale + shift, for pixels p in [0, 1]; scale and shift are float64 (3072,)."""

    scale: Vector
    shift: Vector

    @property
    def size(self) -> int:
        return len(self.scale)

    def fold(self, W: NDArray[Any], b: NDArray[Any]) -> Folded:
        """Return the first layer W (3072, H), b (H,) as it acts on pixels, folded in float64.

        x W + b = (p∘s + t) W + b = p (s∘W) + (t W + b), in the dtype of W.
        """
        W64 = W.astype(np.float64)
        b64 = self.shift @ W64 + b
        W64 *= self.scale[:, None]
        return W64.astype(W.dtype), b64.astype(b.dtype)


@dataclass(frozen=True)
class Components:
    """x = (p − mean) basis ∘ scale: k whitened principal components of the pixels p in [0, 1].

    basis is float32 (3072, k) with orthonormal columns, mean (3072,) and scale (k,) are float64.
    The mean is its own mirror image and each column is either its own or the negative of it, so a
    mirrored image has the same features but for the signs `parity`, ±1 (k,).
    """

    basis: NDArray[np.float32]
    mean: Vector
    scale: Vector
    parity: Vector

    @property
    def size(self) -> int:
        return len(self.scale)

    def fold(self, W: NDArray[Any], b: NDArray[Any]) -> Folded:
        """Return the first layer W (k, H), b (H,) as it acts on pixels, folded in float64.

        x W + b = p V (s∘W) + (b − mean V (s∘W)) for the basis V, in the dtype of W.
        """
        W64 = self.basis.astype(np.float64) @ (self.scale[:, None] * W)
        return W64.astype(W.dtype), (b - self.mean @ W64).astype(b.dtype)


Features = Standardized | Components
PLAIN = Standardized(np.ones(3072), np.zeros(3072))


def fit(config: FeaturesConfig, split: Split) -> Features:
    """Fit the configured map on a split's images.

    `none` leaves pixels as they are; `channel` and `pixel` give mean 0 and deviation 1 (a pixel
    that never changes is only centred); `pca` finds the whitened principal components.
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
    """Find the components of the covariance of the images and of their mirror images together.

    It falls into two halves of 1536 dimensions, what is even under the mirror and what is odd: with
    l the left half of an image and r the right half mirrored, (l + r)/√2 and (l − r)/√2.
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

    Of each half about half of what is found is used, so a few products give these eigenvalues to a
    thousandth or so, many times sooner than the whole eigenproblem would. What has not converged is
    still orthonormal, and white within what was found (Halko et al. 2011).
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
