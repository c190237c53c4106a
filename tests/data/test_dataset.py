"""Splits: stratified, seeded, disjoint; read without the others."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpcli.config.settings import Cifar10Config
from mlpcli.data.dataset import load_test, load_train_val, stratified_rows
from mlpcli.errors import ConfigError


@pytest.fixture
def shapes(shapes_dir: Path) -> Cifar10Config:
    return Cifar10Config(dir=str(shapes_dir), val_size=50)


def test_train_and_val_share_the_images_and_no_row(shapes: Cifar10Config) -> None:
    data = load_train_val(shapes)
    train, val = data.splits["train"], data.splits["val"]
    assert (len(train), len(val)) == (150, 50)
    assert train.images is val.images
    assert sorted([*train.rows, *val.rows]) == list(range(200))
    assert set(data.splits) == {"train", "val"}, "the test images are not read"


def test_each_class_has_its_share_of_val(shapes: Cifar10Config) -> None:
    val = load_train_val(shapes).splits["val"]
    assert np.bincount(val.labels[val.rows]).tolist() == [5] * 10


def test_the_split_depends_on_its_seed_alone(shapes: Cifar10Config) -> None:
    rows = [
        load_train_val(dataclasses.replace(shapes, val_seed=seed)).splits["val"].rows.tolist()
        for seed in (0, 0, 1)
    ]
    assert rows[0] == rows[1] != rows[2]


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60).map(np.array),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_any_split_has_its_size_and_shares_to_within_one(
    labels: np.ndarray, share: float, seed: int
) -> None:
    count = int(share * len(labels))
    rows = stratified_rows(labels, count, np.random.default_rng(seed))
    assert len(rows) == len(set(rows.tolist())) == count
    for k in np.unique(labels):
        fair = (labels == k).sum() * count / len(labels)
        assert abs((labels[rows] == k).sum() - fair) < 1


def test_the_test_split_is_read_alone(shapes: Cifar10Config) -> None:
    data = load_test(shapes)
    assert list(data.splits) == ["test"]
    assert len(data.splits["test"]) == 40
    assert data.digest != load_train_val(shapes).digest


def test_a_val_split_larger_than_the_data_is_refused(shapes: Cifar10Config) -> None:
    with pytest.raises(ConfigError, match=r"data\.val_size is 200, expected fewer than the 200"):
        load_train_val(dataclasses.replace(shapes, val_size=200))


def test_no_val_split_is_an_empty_one(shapes: Cifar10Config) -> None:
    data = load_train_val(dataclasses.replace(shapes, val_size=0))
    assert (len(data.splits["train"]), len(data.splits["val"])) == (200, 0)
