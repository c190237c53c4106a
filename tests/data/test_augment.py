"""Augmentation: affine maps of pixels and of components, flips, dropout."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import draw_split

from mlpcli.config.settings import AugmentConfig, PCAConfig
from mlpcli.data import augment, features
from mlpcli.data.augment import GROUP
from mlpcli.data.dataset import Split
from mlpcli.data.features import Components

IDENTITY = np.eye(2)


@pytest.fixture(scope="module")
def split() -> Split:
    return draw_split(400)


def sampled(plane: np.ndarray, linear: np.ndarray, *shift: float) -> np.ndarray:
    S = augment.sampling_matrix(np.asarray(linear), np.array(shift or (0.0, 0.0)))
    return (plane.reshape(1024) @ S).reshape(32, 32)


def test_the_identity_changes_nothing() -> None:
    plane = np.random.default_rng(0).random((32, 32))
    np.testing.assert_allclose(sampled(plane, IDENTITY), plane, rtol=1e-6)


def test_a_shift_by_whole_pixels_repeats_the_edge() -> None:
    plane = np.random.default_rng(0).random((32, 32))
    found = sampled(plane, IDENTITY, 2, -3)
    np.testing.assert_allclose(found[:-2, 3:], plane[2:, :-3], rtol=1e-6)
    np.testing.assert_allclose(found[-1, 3:], plane[-1, :-3], rtol=1e-6)
    np.testing.assert_allclose(found[:-2, 0], plane[2:, 0], rtol=1e-6)


def test_between_pixels_a_ramp_is_sampled_exactly() -> None:
    rows, columns = np.indices((32, 32)).astype(float)
    inner = slice(8, 24)
    found = sampled(3 * rows + columns, IDENTITY, 0.25, -0.5)[inner, inner]
    np.testing.assert_allclose(found, (3 * (rows + 0.25) + columns - 0.5)[inner, inner], rtol=1e-6)


def test_a_quarter_turn_rotates_and_a_scaling_keeps_the_centre() -> None:
    plane = np.random.default_rng(0).random((32, 32))
    rotated = sampled(plane, [[0, -1], [1, 0]])
    np.testing.assert_allclose(rotated, np.rot90(plane, -1), rtol=1e-5)
    rows, _ = np.indices((32, 32)).astype(float)
    halved = sampled(rows, [[0.5, 0], [0, 1]])
    np.testing.assert_allclose(halved, 15.5 + 0.5 * (rows - 15.5), rtol=1e-6)


def test_every_pixel_is_a_mean_of_pixels() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        S = augment.sampling_matrix(rng.normal(size=(2, 2)), rng.normal(0, 5, 2))
        np.testing.assert_allclose(S.sum(axis=0), 1, rtol=1e-5)
        assert S.min() >= -1e-6


def affine_maps(
    found: Components, config: AugmentConfig, dtype: type = np.float64
) -> augment.AffineMaps:
    maps = found.maps(config, 7 * GROUP + 1, dtype, np.random.default_rng(0))
    assert maps is not None
    return maps


def test_components_are_mapped_as_the_pixels_are(split: Split) -> None:
    """The same map, of images that the components reproduce exactly."""
    found = features.fit(PCAConfig(components=60, epsilon=0.01), split)
    maps = affine_maps(found, AugmentConfig(shift=2, rotation=8, zoom=0.1))
    again = np.random.default_rng(0)
    x = found.apply(split.images[:10])
    images = found.mean + x / found.scale @ found.basis.T
    for matrix, offset in zip(maps.matrices[:3], maps.offsets, strict=False):
        angle, zoom = np.radians(again.uniform(-8, 8)), 1.1 ** again.uniform(-1, 1, 2)
        cos, sin = np.cos(angle), np.sin(angle)
        linear = np.array([[cos, -sin], [sin, cos]]) * zoom
        S = augment.sampling_matrix(linear, again.uniform(-2, 2, 2))
        there = (images.reshape(-1, 1024) @ S).reshape(-1, 3072)
        expected = (there - found.mean) @ found.basis * found.scale
        np.testing.assert_allclose(x @ matrix + offset, expected, atol=1e-4)


def test_every_map_is_another_one(split: Split) -> None:
    found = features.fit(PCAConfig(components=5), split)
    maps = affine_maps(found, AugmentConfig(shift=1), np.float32)
    assert len({matrix.tobytes() for matrix in maps.matrices}) == 128
    assert maps.matrices.dtype == np.float32


def test_each_16_images_of_a_batch_share_a_map_and_each_map_comes_up(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augment, "COUNT", 5)
    found = features.fit(PCAConfig(components=5), split)
    maps, used = affine_maps(found, AugmentConfig(shift=2)), []
    for count in (7 * 16 + 1, 40, 16, 1) * 3:
        x = found.apply(split.images[:count])
        mapped = maps.apply(x)
        assert mapped.shape == x.shape
        every = np.einsum("nk,ikl->inl", x, maps.matrices) + maps.offsets[:, None]
        for start in range(0, count, 16):
            group = slice(start, start + 16)
            (which,) = (i for i in range(5) if np.allclose(mapped[group], every[i, group]))
            used.append(which)
    assert {*used} == set(range(5))
    assert used[:8] != used[12:20], "drawn anew for each batch"


def augmentation(**options: object) -> augment.Augmentation:
    return augment.Augmentation(AugmentConfig(**options), None, 150, 20, np.random.default_rng(0))


def test_half_of_the_images_are_flipped() -> None:
    flips = augmentation(flips=True)
    batches = np.array([flips.flipped(150) for _ in range(80)])
    assert 0.48 < batches.mean() < 0.52
    assert len(flips.flipped(5)) == 5
    # Each image has a coin of its own, in each batch.
    assert np.abs(batches.mean(axis=1) - 0.5).max() < 0.2
    assert np.abs(batches.mean(axis=0) - 0.5).max() < 0.25
    assert augmentation().flipped(5) is None


def test_flips_are_drawn_for_whole_batches_whatever_their_length() -> None:
    """A short last batch takes as much of the stream, so that no later batch depends on it."""
    flips, again = augmentation(flips=True), np.random.default_rng(0)
    for n in (150, 5, 150):
        np.testing.assert_array_equal(flips.flipped(n), again.random(150)[:n] < 0.5)


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    X = np.random.default_rng(1).random((150, 20), np.float32) + 1
    dropout, again = augmentation(input_dropout=0.25), np.random.default_rng(0)
    for n in (150, 7, 1):
        factors = dropout.apply(X[:n].copy()) / X[:n]
        kept = again.random((150, 20), np.float32)[:n] >= 0.25
        np.testing.assert_allclose(factors, kept / 0.75, rtol=1e-6)
    assert kept.mean() == pytest.approx(0.75, abs=0.2)


class Same:
    """A generator that draws one number alone."""

    def __init__(self, number: float) -> None:
        self.number = number

    def random(self, out: np.ndarray, dtype: type | None = None) -> np.ndarray:
        out[...] = self.number
        return out


def test_draws_on_the_boundary_neither_flip_nor_drop() -> None:
    """A draw lies in [0, 1): below ½ for half of the images, below p for a share p of inputs."""
    for draw, flipped in ((0.0, True), (0.5, False)):
        config = AugmentConfig(flips=True, input_dropout=0.5)
        same = augment.Augmentation(config, None, 3, 2, Same(draw))
        assert same.flipped(3).tolist() == [flipped] * 3
        np.testing.assert_array_equal(same.apply(np.ones((3, 2))), 0 if flipped else 2)


def test_what_is_not_configured_draws_nothing() -> None:
    X, rng = np.ones((3, 2), np.float32), np.random.default_rng(0)
    nothing = augment.Augmentation(AugmentConfig(), None, 3, 2, rng)
    assert nothing.flipped(3) is None
    assert nothing.apply(X) is X
    assert rng.random() == np.random.default_rng(0).random()
