"""Inputs: pixels and components, mirrored, moved and left out as asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlpcli.config.settings import AugmentConfig, Cifar10Config, PCAConfig, PixelsConfig
from mlpcli.data import augment as warps
from mlpcli.data import features
from mlpcli.data.dataset import Split, load_train_val
from mlpcli.data.inputs import GROUP, Draw, Dropout, inputs_of, project


@pytest.fixture
def split(shapes_dir: Path) -> Split:
    return load_train_val(Cifar10Config(dir=str(shapes_dir), val_size=50)).splits["train"]


def fitted(split: Split, name: str = "pca") -> features.Features:
    return features.fit(PCAConfig(components=20) if name == "pca" else PixelsConfig(name), split)


def test_components_are_gathered_as_they_are_projected(split: Split) -> None:
    found = fitted(split)
    inputs = inputs_of(split.images, found, 8, np.float64)
    rows = split.rows[[3, 1, 7]]
    X = inputs.gather(Draw(rows))
    np.testing.assert_allclose(X, project(split.images[rows], found))
    np.testing.assert_allclose(
        X, (split.images[rows] / 255 - found.mean) @ found.basis * found.scale, atol=1e-9
    )


@pytest.mark.parametrize("name", ["none", "pixel", "pca"])
def test_mirrored_images_are_turned_left_to_right(split: Split, name: str) -> None:
    """Whether as pixels in reverse or as changed signs of components."""
    images = split.images[split.rows[:2]]
    turned = images.copy()
    turned[1] = images[1].reshape(96, 32)[:, ::-1].ravel()
    found = fitted(split, name)
    one, other = (inputs_of(each, found, 2, np.float64) for each in (images, turned))
    both = np.arange(2)
    X = one.gather(Draw(both, mirrored=np.array([False, True])))
    np.testing.assert_allclose(X, other.gather(Draw(both)), atol=1e-9)


def test_a_group_of_images_is_moved_by_its_own_warp(split: Split) -> None:
    found = fitted(split)
    moves = warps.draw(AugmentConfig(shift=2), found, np.float64, np.random.default_rng(0))
    inputs = inputs_of(split.images, found, 2 * GROUP, np.float64, moves)
    rows = split.rows[: GROUP + 3]
    plain = inputs.gather(Draw(rows)).copy()
    moved = inputs.gather(Draw(rows, warps=np.array([5, 2])))
    first, second = plain[:GROUP], plain[GROUP:]
    np.testing.assert_allclose(moved[:GROUP], first @ moves.matrices[5] + moves.offsets[5])
    np.testing.assert_allclose(moved[GROUP:], second @ moves.matrices[2] + moves.offsets[2])


def test_dropout_leaves_out_its_share_and_keeps_the_mean(split: Split) -> None:
    inputs = inputs_of(split.images, fitted(split), 150, np.float32)
    plain = inputs.gather(Draw(split.rows)).copy()
    dropped = Dropout(inputs, 0.25, 150, 20, np.random.default_rng(0)).gather(Draw(split.rows))
    factors = dropped / plain
    assert ((factors == 0) | np.isclose(factors, 1 / 0.75)).all()
    assert (factors == 0).mean() == pytest.approx(0.25, abs=0.03)
    nothing = Dropout(inputs, 0.0, 150, 20, np.random.default_rng(0)).gather(Draw(split.rows))
    np.testing.assert_array_equal(nothing, plain)
