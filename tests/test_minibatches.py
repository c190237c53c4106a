"""Minibatches: every image once an epoch, gathered right, and resumed in the middle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpcli import features
from mlpcli.cifar10.dataset import Split, load_train_val
from mlpcli.config import DataConfig
from mlpcli.minibatches import Gatherer, Shuffler


@pytest.fixture
def split(shapes_dir: Path) -> Split:
    return load_train_val(DataConfig(dir=str(shapes_dir), val_size=50)).splits["train"]


@given(count=st.integers(1, 40), size=st.integers(1, 15), epochs=st.integers(1, 3))
def test_an_epoch_holds_every_row_once_with_a_short_last_batch(
    count: int, size: int, epochs: int
) -> None:
    shuffler = Shuffler(
        np.arange(100, 100 + count), size, flips=False, rng=np.random.default_rng(0)
    )
    for _ in range(epochs):
        batches = [rows.copy() for rows, _ in shuffler]
        assert sorted(np.concatenate(batches)) == list(range(100, 100 + count))
        assert [len(rows) for rows in batches[:-1]] == [size] * (len(batches) - 1)
        assert len(batches) == len(shuffler)


def test_epochs_differ_in_their_order() -> None:
    shuffler = Shuffler(np.arange(50), 50, flips=False, rng=np.random.default_rng(0))
    (first,) = [rows.copy() for rows, _ in shuffler]
    (second,) = [rows.copy() for rows, _ in shuffler]
    assert first.tolist() != second.tolist()


def test_a_batch_holds_the_features_and_the_one_hot_labels_of_its_rows(split: Split) -> None:
    fitted = features.fit("pixel", split)
    gatherer = Gatherer(split, fitted, 10, 8, np.float64)
    rows = split.rows[[3, 1, 7]]
    X, Y, labels = gatherer.gather(rows)
    np.testing.assert_allclose(X, split.images[rows] / 255 * fitted.scale + fitted.shift)
    np.testing.assert_array_equal(labels, split.labels[rows])
    np.testing.assert_array_equal(Y, np.eye(10)[labels])


def test_mirrored_images_are_turned_left_to_right(split: Split) -> None:
    gatherer = Gatherer(split, features.fit("none", split), 10, 4, np.float64)
    rows = split.rows[:2]
    X = gatherer.gather(rows, np.array([False, True])).inputs.reshape(2, 3, 32, 32)
    pixels = split.images[rows].reshape(2, 3, 32, 32) / 255
    np.testing.assert_allclose(X[0], pixels[0])
    np.testing.assert_allclose(X[1], pixels[1, :, :, ::-1])


def test_half_of_the_images_are_mirrored() -> None:
    shuffler = Shuffler(np.arange(10_000), 128, flips=True, rng=np.random.default_rng(0))
    share = np.mean(np.concatenate([mirrored for _, mirrored in shuffler]))
    assert 0.48 < share < 0.52


def test_buffers_are_reused(split: Split) -> None:
    gatherer = Gatherer(split, features.fit("none", split), 10, 8, np.float32)
    first, second = (gatherer.gather(split.rows[i : i + 8]) for i in (0, 8))
    assert np.shares_memory(first.inputs, second.inputs)
    assert np.shares_memory(first.targets, second.targets)
