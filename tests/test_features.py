"""Standardisation, and that it folds into the first layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlpcli import features
from mlpcli.cifar10.dataset import Split, load_train_val
from mlpcli.config import DataConfig


@pytest.fixture
def split(shapes_dir: Path) -> Split:
    return load_train_val(DataConfig(dir=str(shapes_dir), val_size=50)).splits["train"]


def apply(fitted: features.Features, split: Split) -> np.ndarray:
    return split.images[split.rows] / 255 * fitted.scale + fitted.shift


def test_none_leaves_pixels_between_0_and_1(split: Split) -> None:
    x = apply(features.fit("none", split), split)
    np.testing.assert_array_equal(x, split.images[split.rows] / 255)


def test_pixel_gives_each_pixel_mean_0_and_deviation_1(split: Split) -> None:
    x = apply(features.fit("pixel", split), split)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(x.std(axis=0), 1, rtol=1e-9)


def test_channel_gives_each_channel_mean_0_and_deviation_1(split: Split) -> None:
    x = apply(features.fit("channel", split), split).reshape(-1, 3, 1024)
    np.testing.assert_allclose(x.mean(axis=(0, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(x.std(axis=(0, 2)), 1, rtol=1e-9)


def test_only_the_rows_of_the_split_are_looked_at(split: Split) -> None:
    images = split.images.copy()
    others = np.setdiff1d(np.arange(len(images)), split.rows)
    images[others] = 255
    spoiled = features.fit("pixel", Split(images, split.labels, split.rows))
    np.testing.assert_array_equal(spoiled.scale, features.fit("pixel", split).scale)


def test_a_pixel_that_never_changes_is_only_centred() -> None:
    images = np.full((5, 3072), 51, np.uint8)
    split = Split(images, np.zeros(5, np.intp), np.arange(5))
    x = apply(features.fit("pixel", split), split)
    np.testing.assert_allclose(x, 0, atol=1e-12)


@pytest.mark.parametrize("kind", ["none", "channel", "pixel"])
def test_the_folded_layer_does_on_pixels_what_the_layer_does_on_features(
    split: Split, kind: str
) -> None:
    rng = np.random.default_rng(0)
    W, b = rng.standard_normal((3072, 6)), rng.standard_normal(6)
    fitted = features.fit(kind, split)
    W_pixels, b_pixels = fitted.fold(W, b)
    on_pixels = split.images[split.rows] / 255 @ W_pixels + b_pixels
    np.testing.assert_allclose(on_pixels, apply(fitted, split) @ W + b, rtol=1e-9, atol=1e-9)
