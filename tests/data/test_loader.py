"""Loaders: every image once per epoch, gathered right, and augmented as asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpcli.config.settings import AugmentConfig, Cifar10Config, PCAConfig, PixelsConfig
from mlpcli.data import features
from mlpcli.data.dataset import Split, load_train_val
from mlpcli.data.features import Features
from mlpcli.data.loader import Loader, Sampler


@pytest.fixture
def split(shapes_dir: Path) -> Split:
    return load_train_val(Cifar10Config(dir=str(shapes_dir), val_size=50)).splits["train"]


def fitted(split: Split, name: str = "pca") -> Features:
    return features.fit(PCAConfig(components=20) if name == "pca" else PixelsConfig(name), split)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def training_loader(split: Split, name: str, seed: int, **augment: object) -> Loader:
    return fitted(split, name).loader(
        split,
        10,
        64,
        np.float64,
        augment=AugmentConfig(**augment),
        order=rng(),
        augmentation=rng(seed),
    )


@given(count=st.integers(1, 40), size=st.integers(1, 15), epochs=st.integers(1, 3))
def test_an_epoch_holds_every_row_once_with_a_short_last_batch(
    count: int, size: int, epochs: int
) -> None:
    rows = np.arange(100, 100 + count)
    for sampler in (Sampler(rows, size, rng()), Sampler(rows, size)):
        for _ in range(epochs):
            batches = [batch.copy() for batch in sampler]
            assert sorted(np.concatenate(batches)) == rows.tolist()
            assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
            assert len(batches) == len(sampler)


def test_epochs_differ_in_their_order_only_if_they_are_shuffled() -> None:
    for order in (None, rng()):
        sampler = Sampler(np.arange(50), 50, order)
        first, second = ([rows.tolist() for rows in sampler] for _ in range(2))
        assert (first == second) == (order is None)


def test_shuffling_leaves_the_split_as_it_is(split: Split) -> None:
    rows, images = split.rows.copy(), split.images.copy()
    loader = training_loader(split, "channel", 0, flips=True)
    for _ in loader:
        pass
    assert loader.sampler.order.tolist() != rows.tolist()
    np.testing.assert_array_equal(split.rows, rows)
    np.testing.assert_array_equal(split.images, images)


@pytest.mark.parametrize("name", ["none", "channel", "pixel", "pca"])
def test_a_batch_holds_the_features_and_the_one_hot_labels_of_its_rows(
    split: Split, name: str
) -> None:
    found = fitted(split, name)
    at = 0
    for batch in found.loader(split, 10, 64, np.float64):
        rows = split.rows[at : at + 64]
        np.testing.assert_allclose(batch.inputs, found.apply(split.images[rows]), atol=1e-12)
        np.testing.assert_array_equal(batch.labels, split.labels[rows])
        np.testing.assert_array_equal(batch.targets, np.eye(10)[batch.labels])
        at += len(rows)
    assert at == len(split)


@pytest.mark.parametrize("name", ["pixel", "pca"])
def test_about_half_of_the_images_are_flipped_and_the_others_are_not(
    split: Split, name: str
) -> None:
    """Whether as pixels in reverse or as changed signs of components."""
    found = fitted(split, name)
    flipped_images = split.images.reshape(-1, 96, 32)[:, :, ::-1].reshape(-1, 3072)
    plain, flipped = found.apply(split.images), found.apply(flipped_images)
    loader, flips = training_loader(split, name, 0, flips=True), 0
    for _ in range(5):
        at = 0
        for batch in loader:
            rows = loader.sampler.order[at : at + len(batch.labels)]
            at += len(rows)
            for x, row in zip(batch.inputs, rows, strict=True):
                is_flipped = np.allclose(x, flipped[row], atol=1e-9)
                assert is_flipped or np.allclose(x, plain[row], atol=1e-9)
                flips += is_flipped
    assert 0.4 < flips / (5 * len(split)) < 0.6


def test_a_training_loader_draws_its_order_and_its_augmentation_apart(split: Split) -> None:
    """Another seed of the augmentation changes no order, and no label."""
    one, other = (training_loader(split, "pca", seed, shift=2, flips=True) for seed in (1, 2))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.labels, b.labels)
        assert not np.allclose(a.inputs, b.inputs)


def test_a_loader_in_order_shares_the_inputs_and_augments_nothing(split: Split) -> None:
    loader = training_loader(split, "pca", 0, shift=2, flips=True, input_dropout=0.5)
    rows = np.arange(0, len(split.images), 3)
    val = loader.in_order(Split(split.images, split.labels, rows))
    assert val.inputs is loader.inputs
    found = np.concatenate([batch.inputs.copy() for batch in val])
    np.testing.assert_allclose(found, fitted(split).apply(split.images[rows]), atol=1e-12)


@pytest.mark.parametrize("name", ["none", "pca"])
def test_buffers_are_reused(split: Split, name: str) -> None:
    first, second, *_ = fitted(split, name).loader(split, 10, 8, np.float32)
    assert np.shares_memory(first.inputs, second.inputs)
    assert np.shares_memory(first.targets, second.targets)
