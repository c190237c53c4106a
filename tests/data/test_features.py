"""Standardisation and principal components, and that both fold into the first layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlpcli.config.settings import Cifar10Config, PCAConfig, PixelsConfig
from mlpcli.data import features
from mlpcli.data.dataset import Split, load_train_val


@pytest.fixture
def split(shapes_dir: Path) -> Split:
    return load_train_val(Cifar10Config(dir=str(shapes_dir), val_size=50)).splits["train"]


def fit(name: str, split: Split, **options: object) -> features.Features:
    return features.fit(PCAConfig(**options) if name == "pca" else PixelsConfig(name), split)


def apply(fitted: features.Features, split: Split) -> np.ndarray:
    return fitted.apply(split.images[split.rows])


def flipped(images: np.ndarray) -> np.ndarray:
    return images.reshape(-1, 96, 32)[:, :, ::-1].reshape(-1, 3072)


def test_none_leaves_pixels_between_0_and_1(split: Split) -> None:
    x = apply(fit("none", split), split)
    np.testing.assert_allclose(x, split.images[split.rows] / 255, rtol=1e-15)


def test_pixel_gives_each_pixel_mean_0_and_std_1(split: Split) -> None:
    x = apply(fit("pixel", split), split)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(x.std(axis=0), 1, rtol=1e-9)


def test_channel_gives_each_channel_mean_0_and_std_1(split: Split) -> None:
    x = apply(fit("channel", split), split).reshape(-1, 3, 1024)
    np.testing.assert_allclose(x.mean(axis=(0, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(x.std(axis=(0, 2)), 1, rtol=1e-9)


def test_components_are_those_of_the_images_and_their_mirror_images(split: Split) -> None:
    """Compared with a singular value decomposition in all 3072 dimensions."""
    found = fit("pca", split, components=30, epsilon=0.01)
    images = split.images[split.rows] / 255
    both = np.concatenate([images, flipped(images)])
    np.testing.assert_allclose(found.mean, both.mean(axis=0), atol=1e-9)
    _, stds, vectors = np.linalg.svd(both - both.mean(axis=0), full_matrices=False)
    values = stds[:30] ** 2 / len(both)
    np.testing.assert_allclose(found.scale, (values + 0.01 * values[0]) ** -0.5, rtol=2e-3)
    np.testing.assert_allclose(np.abs(np.diag(vectors[:15] @ found.basis[:, :15])), 1, atol=1e-3)


def test_components_are_orthonormal_and_their_features_nearly_white(split: Split) -> None:
    found = fit("pca", split, components=20, epsilon=1e-9)
    np.testing.assert_allclose(found.basis.T @ found.basis, np.eye(20), atol=1e-5)
    images = split.images[split.rows]
    both = Split(np.concatenate([images, flipped(images)]), np.zeros(300), np.arange(300))
    x = apply(found, both)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(x.T @ x / len(x), np.eye(20), atol=1e-3)


def test_a_flipped_image_is_a_change_of_signs(split: Split) -> None:
    found = fit("pca", split, components=200)
    mirror = Split(flipped(split.images), split.labels, split.rows)
    np.testing.assert_allclose(apply(found, mirror), apply(found, split) * found.parity, atol=1e-9)
    assert set(found.parity) == {-1.0, 1.0}


@pytest.mark.parametrize("name", ["pixel", "pca"])
def test_only_the_rows_of_the_split_are_looked_at(split: Split, name: str) -> None:
    images = split.images.copy()
    others = np.setdiff1d(np.arange(len(images)), split.rows)
    images[others] = 255
    options = {"components": 20} if name == "pca" else {}
    changed = fit(name, Split(images, split.labels, split.rows), **options)
    np.testing.assert_array_equal(changed.scale, fit(name, split, **options).scale)


@pytest.mark.parametrize(("name", "scale"), [("channel", 1), ("pixel", 1), ("pca", 0.01**-0.5)])
def test_what_never_changes_is_only_centred(name: str, scale: float) -> None:
    images = np.full((5, 3072), 51, np.uint8)
    split = Split(images, np.zeros(5, np.intp), np.arange(5))
    found = fit(name, split, **({"components": 5, "epsilon": 0.01} if name == "pca" else {}))
    np.testing.assert_allclose(apply(found, split), 0, atol=1e-9)
    np.testing.assert_allclose(found.scale, scale, rtol=1e-6)


def test_components_beyond_the_rank_of_the_images_are_finite(split: Split) -> None:
    few = Split(split.images[:6], split.labels[:6], np.arange(6))
    found = fit("pca", few, components=40, epsilon=1e-12)
    assert np.isfinite(found.scale).all()
    assert np.isfinite(apply(found, few)).all()


@pytest.mark.parametrize("name", ["channel", "pca"])
def test_images_are_taken_in_pieces_that_change_nothing(
    split: Split, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    options = {"components": 15} if name == "pca" else {}
    whole = fit(name, split, **options)
    expected = whole.apply(split.images)
    monkeypatch.setattr(features, "CHUNK", 64)
    monkeypatch.setattr(features, "SAMPLE_CHUNK", 40)
    found = fit(name, split, **options)
    np.testing.assert_allclose(found.scale, whole.scale, rtol=1e-5)
    np.testing.assert_allclose(whole.apply(split.images), expected, rtol=1e-12, atol=1e-12)


def test_components_are_those_of_a_sample_taken_all_over(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "SAMPLE", 50)
    thirds = Split(split.images, split.labels, split.rows[::3])
    for rows in (split.rows, split.rows[:99]):
        part = Split(split.images, split.labels, rows)
        one, other = (fit("pca", which, components=5) for which in (part, thirds))
        assert (one.mean.tolist() == other.mean.tolist()) == (len(rows) == 150)


def test_components_as_they_were_recorded(split: Split) -> None:
    """Those that have not converged depend on the start and the number of products."""
    scale = fit("pca", split, components=60).scale[[0, 9, 29, 59]]
    np.testing.assert_allclose(scale, [0.217724, 1.2206546, 2.694309, 3.540953], rtol=2e-5)


@pytest.mark.parametrize("name", ["channel", "pca"])
def test_features_are_computed_in_the_dtype_asked_for(split: Split, name: str) -> None:
    """Bit for bit: a factor of another type would have float32 computed in float64."""
    found = fit(name, split, **({"components": 7} if name == "pca" else {}))
    images = split.images[:20]
    W, b = np.ones((found.size, 2), np.float32), np.ones(2, np.float32)
    assert [array.dtype for array in found.fold(W, b)] == [np.float32] * 2
    for dtype in (np.float32, np.float64):
        if name == "channel":
            expected = images * (found.scale / 255).astype(dtype) + found.shift.astype(dtype)
        else:
            expected = images.astype(dtype) @ (found.basis * found.scale / 255).astype(dtype)
            expected += (-(found.mean @ found.basis) * found.scale).astype(dtype)
        (batch,) = found.loader(Split(images, split.labels[:20], np.arange(20)), 10, 20, dtype)
        for x in (found.apply(images, dtype), batch.inputs):
            assert x.dtype == dtype
            np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("name", ["none", "channel", "pixel", "pca"])
def test_the_folded_layer_does_on_pixels_what_the_layer_does_on_features(
    split: Split, name: str
) -> None:
    rng = np.random.default_rng(0)
    fitted = fit(name, split, **({"components": 30} if name == "pca" else {}))
    W, b = rng.standard_normal((fitted.size, 6)), rng.standard_normal(6)
    W_pixels, b_pixels = fitted.fold(W, b)
    assert W_pixels.shape == (3072, 6)
    on_pixels = split.images[split.rows] / 255 @ W_pixels + b_pixels
    np.testing.assert_allclose(on_pixels, apply(fitted, split) @ W + b, rtol=1e-9, atol=1e-9)
