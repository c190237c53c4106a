"""Minibatches: every image once an epoch, gathered right and varied as asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpcli.config.settings import Cifar10Config, PCAConfig, PixelsConfig
from mlpcli.data import features
from mlpcli.data.dataset import Split, load_train_val
from mlpcli.data.inputs import Draw, inputs_of
from mlpcli.data.minibatches import Gatherer, Shuffler


@pytest.fixture
def split(shapes_dir: Path) -> Split:
    return load_train_val(Cifar10Config(dir=str(shapes_dir), val_size=50)).splits["train"]


def fitted(split: Split, name: str = "pca") -> features.Features:
    return features.fit(PCAConfig(components=20) if name == "pca" else PixelsConfig(name), split)


def shuffler(count: int, size: int, **options: object) -> Shuffler:
    rows = np.arange(100, 100 + count)
    return Shuffler(rows, size, **({"flips": False, "rng": np.random.default_rng(0)} | options))


@given(count=st.integers(1, 40), size=st.integers(1, 15), epochs=st.integers(1, 3))
def test_an_epoch_holds_every_row_once_with_a_short_last_batch(
    count: int, size: int, epochs: int
) -> None:
    order = shuffler(count, size)
    for _ in range(epochs):
        batches = [draw.rows.copy() for draw in order]
        assert sorted(np.concatenate(batches)) == list(range(100, 100 + count))
        assert [len(rows) for rows in batches[:-1]] == [size] * (len(batches) - 1)
        assert len(batches) == len(order)


def test_epochs_differ_in_their_order() -> None:
    order = shuffler(50, 50)
    first, second = ([draw.rows.tolist() for draw in order] for _ in range(2))
    assert first != second


def test_a_batch_holds_the_features_and_the_one_hot_labels_of_its_rows(split: Split) -> None:
    pixel = fitted(split, "pixel")
    gatherer = Gatherer(split, inputs_of(split.images, pixel, 8, np.float64), 10, 8, np.float64)
    rows = split.rows[[3, 1, 7]]
    X, Y, labels = gatherer.gather(Draw(rows))
    np.testing.assert_allclose(X, split.images[rows] / 255 * pixel.scale + pixel.shift)
    np.testing.assert_array_equal(labels, split.labels[rows])
    np.testing.assert_array_equal(Y, np.eye(10)[labels])


def test_half_of_the_images_are_mirrored() -> None:
    draws = shuffler(10_000, 128, flips=True)
    share = np.mean(np.concatenate([draw.mirrored for draw in draws]))
    assert 0.48 < share < 0.52


def test_every_group_of_a_batch_draws_a_warp_and_each_warp_comes_up() -> None:
    draws = [draw.warps.tolist() for draw in shuffler(10_000, 128, warps=7)]
    assert [len(warps) for warps in draws] == [8] * 78 + [1]
    assert {warp for warps in draws for warp in warps} == set(range(7))


@pytest.mark.parametrize("name", ["none", "pca"])
def test_buffers_are_reused(split: Split, name: str) -> None:
    inputs = inputs_of(split.images, fitted(split, name), 8, np.float32)
    gatherer = Gatherer(split, inputs, 10, 8, np.float32)
    first, second = (gatherer.gather(Draw(split.rows[i : i + 8])) for i in (0, 8))
    assert np.shares_memory(first.inputs, second.inputs)
    assert np.shares_memory(first.targets, second.targets)
