"""Warps: what they do to pixels, and that components are moved as pixels are."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import draw_split

from mlpcli.config.settings import AugmentConfig, PCAConfig
from mlpcli.data import augment as warps
from mlpcli.data import features
from mlpcli.data.dataset import Split
from mlpcli.data.inputs import project

IDENTITY = np.eye(2)


@pytest.fixture(scope="module")
def split() -> Split:
    return draw_split(400)


def moved(plane: np.ndarray, linear: np.ndarray, *shift: float) -> np.ndarray:
    S = warps.sampling_matrix(np.asarray(linear), np.array(shift or (0.0, 0.0)))
    return (plane.reshape(1024) @ S).reshape(32, 32)


def test_no_move_changes_nothing() -> None:
    plane = np.random.default_rng(0).random((32, 32))
    np.testing.assert_allclose(moved(plane, IDENTITY), plane, rtol=1e-6)


def test_a_shift_by_whole_pixels_repeats_the_edge() -> None:
    plane = np.random.default_rng(0).random((32, 32))
    found = moved(plane, IDENTITY, 2, -3)
    np.testing.assert_allclose(found[:-2, 3:], plane[2:, :-3], rtol=1e-6)
    np.testing.assert_allclose(found[-1, 3:], plane[-1, :-3], rtol=1e-6)
    np.testing.assert_allclose(found[:-2, 0], plane[2:, 0], rtol=1e-6)


def test_between_pixels_a_ramp_is_sampled_exactly() -> None:
    rows, columns = np.indices((32, 32)).astype(float)
    inner = slice(8, 24)
    found = moved(3 * rows + columns, IDENTITY, 0.25, -0.5)[inner, inner]
    np.testing.assert_allclose(found, (3 * (rows + 0.25) + columns - 0.5)[inner, inner], rtol=1e-6)


def test_a_quarter_turn_is_a_turn_and_a_stretch_keeps_the_centre() -> None:
    plane = np.random.default_rng(0).random((32, 32))
    turned = moved(plane, [[0, -1], [1, 0]])
    np.testing.assert_allclose(turned, np.rot90(plane, -1), rtol=1e-5)
    rows, _ = np.indices((32, 32)).astype(float)
    halved = moved(rows, [[0.5, 0], [0, 1]])
    np.testing.assert_allclose(halved, 15.5 + 0.5 * (rows - 15.5), rtol=1e-6)


def test_every_pixel_is_a_mean_of_pixels() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        S = warps.sampling_matrix(rng.normal(size=(2, 2)), rng.normal(0, 5, 2))
        np.testing.assert_allclose(S.sum(axis=0), 1, rtol=1e-5)
        assert S.min() >= -1e-6


def test_components_are_moved_as_the_pixels_are(split: Split) -> None:
    """The same move, of images that the components hold whole."""
    k = 60
    found = features.fit(PCAConfig(components=k, epsilon=0.01), split)
    config = AugmentConfig(shift=2, rotation=8, zoom=0.1)
    moves = warps.draw(config, found, np.float64, np.random.default_rng(0))
    again = np.random.default_rng(0)
    x = project(split.images[:10], found)
    images = found.mean + x / found.scale @ found.basis.T
    for matrix, offset in zip(moves.matrices[:3], moves.offsets, strict=False):
        angle, stretch = np.radians(again.uniform(-8, 8)), 1.1 ** again.uniform(-1, 1, 2)
        cos, sin = np.cos(angle), np.sin(angle)
        linear = np.array([[cos, -sin], [sin, cos]]) * stretch
        S = warps.sampling_matrix(linear, again.uniform(-2, 2, 2))
        there = (images.reshape(-1, 1024) @ S).reshape(-1, 3072)
        expected = (there - found.mean) @ found.basis * found.scale
        np.testing.assert_allclose(x @ matrix + offset, expected, atol=1e-4)


def test_within_its_bounds_each_warp_is_another(split: Split) -> None:
    found = features.fit(PCAConfig(components=5), split)
    moves = warps.draw(AugmentConfig(shift=1), found, np.float32, np.random.default_rng(0))
    assert len(moves) == len({matrix.tobytes() for matrix in moves.matrices}) == warps.COUNT
    assert moves.matrices.dtype == np.float32
