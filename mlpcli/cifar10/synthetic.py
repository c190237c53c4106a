"""The synthetic data set: ten classes of shapes, drawn from a seed in the layout of CIFAR-10.

Position, size and both colors are random, and a shape is brighter than its background or darker, so
the mean images of the classes are similar: a linear classifier on pixels learns little, and a
network has to learn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Grid = NDArray[np.float32]

TRAIN_SIZE, TEST_SIZE = 10_000, 2_000
SEED = 2018
NOISE = 0.06  # std of the noise, where 1 is the range of a pixel
BRIGHTER = 0.7  # fraction of the shapes that are brighter than their background

# Signed distance in pixels to the outline of a shape of radius r, negative inside; x and y are
# relative to its center. Stripes have a radius too: they fill a square patch.


def _disk(x: Grid, y: Grid, r: Grid) -> Grid:
    return np.hypot(x, y) - r


def _ring(x: Grid, y: Grid, r: Grid) -> Grid:
    return np.abs(np.hypot(x, y) - 0.75 * r) - 0.25 * r


def _square(x: Grid, y: Grid, r: Grid) -> Grid:
    return np.maximum(np.abs(x), np.abs(y)) - 0.9 * r


def _frame(x: Grid, y: Grid, r: Grid) -> Grid:
    return np.abs(np.maximum(np.abs(x), np.abs(y)) - 0.7 * r) - 0.2 * r


def _triangle(x: Grid, y: Grid, r: Grid) -> Grid:
    return np.maximum(y - 0.7 * r, 0.87 * np.abs(x) - 0.5 * y - 0.5 * r)


def _diamond(x: Grid, y: Grid, r: Grid) -> Grid:
    return (np.abs(x) + np.abs(y) - 1.1 * r) * np.float32(0.71)


def _cross(x: Grid, y: Grid, r: Grid) -> Grid:
    across = np.minimum(np.abs(x), np.abs(y)) - 0.25 * r
    return np.maximum(across, np.maximum(np.abs(x), np.abs(y)) - r)


def _saltire(x: Grid, y: Grid, r: Grid) -> Grid:
    return _cross((x + y) * np.float32(0.71), (x - y) * np.float32(0.71), r)


def _rows(x: Grid, y: Grid, r: Grid) -> Grid:
    period = 0.8 * r
    stripes = np.abs((y / period) % 1 - 0.5) * period - 0.25 * period
    return np.maximum(stripes, _square(x, y, r))


def _columns(x: Grid, y: Grid, r: Grid) -> Grid:
    return _rows(y, x, r)


SHAPES = (_disk, _ring, _square, _frame, _triangle, _diamond, _cross, _saltire, _rows, _columns)
LABEL_NAMES = tuple(shape.__name__.removeprefix("_") for shape in SHAPES)


def draw_train() -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    """Return the 10,000 training images, uint8 (N, 3072), and their labels."""
    return draw(TRAIN_SIZE, np.random.default_rng([SEED, 0]))


def draw_test() -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    """Return the 2,000 test images, uint8 (N, 3072), and their labels."""
    return draw(TEST_SIZE, np.random.default_rng([SEED, 1]))


def draw(count: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    """Return `count` images in random order, their classes balanced to within one image."""
    labels = rng.permutation(np.arange(count) % len(SHAPES))
    images = np.empty((count, 3, 32, 32), np.uint8)
    for k, distance in enumerate(SHAPES):
        rows = np.flatnonzero(labels == k)
        images[rows] = _draw_class(distance, len(rows), rng)
    return images.reshape(count, 3072), labels


def _draw_class(distance: Any, count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    def uniform(low: float, high: float, *shape: int) -> Grid:
        return rng.uniform(low, high, (count, *shape)).astype(np.float32)

    radius = uniform(7, 12, 1, 1)
    pixel = np.arange(32, dtype=np.float32)
    x = pixel[None, None, :] - (15.5 + uniform(-4, 4, 1, 1))
    y = pixel[None, :, None] - (15.5 + uniform(-4, 4, 1, 1))
    coverage = np.clip(0.5 - distance(x, y, radius), 0, 1)[:, None]  # (count, 1, 32, 32)

    background = uniform(0.35, 0.65, 3, 1, 1)
    sign = np.where(uniform(0, 1, 1, 1, 1) < BRIGHTER, 1, -1).astype(np.float32)
    color = background + sign * uniform(0.1, 0.35, 3, 1, 1)
    images = background + (color - background) * coverage
    images += NOISE * rng.standard_normal(images.shape, np.float32)
    return np.clip(images * 255 + 0.5, 0, 255).astype(np.uint8)
