"""Splits: stratified, seeded, disjoint; read without the others."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_split
from hypothesis import given
from hypothesis import strategies as st

from mlpcli.cifar10 import synthetic
from mlpcli.config.settings import Cifar10Config, SyntheticConfig
from mlpcli.data.dataset import Dataset, hold_out, load_test, load_train_val, stratified_rows
from mlpcli.errors import ConfigError, DataError


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


def test_the_largest_remainders_are_rounded_up() -> None:
    """7 of 100 images in classes of 50, 30, 20: shares of 3.5, 2.1, 1.4."""
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    rows = stratified_rows(labels, 7, np.random.default_rng(0))
    assert np.bincount(labels[rows]).tolist() == [4, 2, 1]
    assert rows.tolist() == sorted(rows)
    assert rows.tolist() != list(range(7)), "drawn, not the first of each class"


def test_holding_out_leaves_the_training_split_in_order_and_as_it_was() -> None:
    train = draw_split(60)
    whole = Dataset({"train": train}, ("a",), "digest")
    held = hold_out(whole, 20, seed=0)
    assert train.rows.tolist() == list(range(60))
    for split in held.splits.values():
        assert split.rows.tolist() == sorted(split.rows)
        assert split.labels is train.labels
    assert (held.label_names, held.digest) == (("a",), "digest")


def test_the_digest_is_that_of_the_labels_and_then_the_pixels(shapes: Cifar10Config) -> None:
    data = load_train_val(shapes)
    split = data.splits["train"]
    labels = b"".join(int(label).to_bytes(2, "little") for label in split.labels)
    assert data.digest == hashlib.sha256(labels + split.images.tobytes()).hexdigest()


def test_generated_shapes_are_read_as_files_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, count in (("draw_train", 30), ("draw_test", 20)):
        drawn = synthetic.draw(count, np.random.default_rng(count))
        monkeypatch.setattr(synthetic, name, lambda drawn=drawn: drawn)
    training, test = load_train_val(SyntheticConfig(val_size=10)), load_test(SyntheticConfig())
    sizes = {name: len(split) for name, split in (training.splits | test.splits).items()}
    assert sizes == {"train": 20, "val": 10, "test": 20}
    assert test.label_names == synthetic.LABEL_NAMES


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


def test_where_the_directory_is_gone_the_usual_one_is_proposed(
    shapes_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Cifar10Config(dir=str(tmp_path / "gone"))
    monkeypatch.setenv("MLPCLI_DATA_DIR", str(tmp_path))
    with pytest.raises(DataError, match="gone: no such folder") as caught:
        load_train_val(gone)
    assert caught.value.hint == f"mlpcli download --data-dir {tmp_path / 'gone'}"
    monkeypatch.setenv("MLPCLI_DATA_DIR", str(shapes_dir))
    with pytest.raises(DataError, match="gone: no such folder") as caught:
        load_train_val(gone)
    assert caught.value.hint == ("--data-dir", str(shapes_dir))
