"""The data set as training and evaluation see it: images, labels, and the rows of each split."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mlpcli.config.settings import DataConfig
from mlpcli.errors import ConfigError, DataError
from mlpcli.files import data_dir

log = logging.getLogger(__name__)

SplitName = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Split:
    """Some rows of a data set; train and val share the one array of images that was read.

    `images` is uint8 (N, 3072), channel-planar; `labels` is (N,); `rows` are this split's indices.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.intp]
    rows: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Dataset:
    """The splits that were asked for, the names of the classes, and a digest of what was read."""

    splits: dict[SplitName, Split]
    label_names: tuple[str, ...]
    digest: str


def load_train_val(config: DataConfig) -> Dataset:
    """Read the training images and hold out `val_size` of them; the test images are not read.

    Raises DataError where the files are missing or not what CIFAR-10 holds, and ConfigError where
    they hold too few images for `val_size`.
    """
    return hold_out(load_train(config), config.val_size, config.val_seed)


def load_train(config: DataConfig) -> Dataset:
    """Read the training images, all in one split; raises DataError as `load_train_val` does."""
    return _load(config, "train")


def load_test(config: DataConfig) -> Dataset:
    """Read the test images and no others; raises DataError as `load_train_val` does."""
    return _load(config, "test")


def _load(config: DataConfig, name: Literal["train", "test"]) -> Dataset:
    from mlpcli.cifar10 import batches, synthetic  # the training loop needs the types alone

    start, training = time.perf_counter(), name == "train"
    if config.name == "synthetic":
        label_names, source = synthetic.LABEL_NAMES, "generated"
        images, labels = synthetic.draw_train() if training else synthetic.draw_test()
    else:
        path = data_dir(config.dir)
        if not path.exists():
            with contextlib.suppress(ConfigError):  # there may be no usual one
                if batches.holds_data_set(usual := data_dir(None)):
                    hint = ("--data-dir", str(usual))
                    raise DataError(f"{path}: no such folder, expected a data directory", hint)
        names = batches.TRAIN_BATCHES if training else batches.TEST_BATCHES
        with batches.open_folder(path) as folder:
            images, labels = folder.read(names)
        label_names, source = folder.label_names, f"read from {path}"
    log.debug(
        "%s images: %s %s in %.2f s",
        "training" if training else "test",
        f"{len(labels):,}",
        source,
        time.perf_counter() - start,
    )
    split = Split(images, labels, np.arange(len(labels)))
    return Dataset({name: split}, label_names, _digest(images, labels))


def hold_out(dataset: Dataset, count: int, seed: int) -> Dataset:
    """Hold out `count` of the training images, stratified by class, as the split val.

    Raises ConfigError where there are too few.
    """
    train = dataset.splits["train"]
    if count >= len(train):
        raise ConfigError(f"data.val_size is {count}, expected fewer than the {len(train)} images")
    val = stratified_rows(train.labels, count, np.random.default_rng(seed))
    rest = np.setdiff1d(train.rows, val, assume_unique=True)
    splits: dict[SplitName, Split] = {
        "train": Split(train.images, train.labels, rest),
        "val": Split(train.images, train.labels, val),
    }
    return Dataset(splits, dataset.label_names, dataset.digest)


def stratified_rows(
    labels: NDArray[np.intp], count: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Return `count` sorted rows, drawn so that each class has its share, to within one row."""
    classes = [rng.permutation(np.flatnonzero(labels == k)) for k in np.unique(labels)]
    shares = np.array([len(rows) for rows in classes]) * count / len(labels)
    takes = np.floor(shares).astype(int)
    largest = np.argsort(takes - shares, kind="stable")[: count - takes.sum()]
    takes[largest] += 1
    return np.sort(np.concatenate([rows[:n] for rows, n in zip(classes, takes, strict=True)]))


def _digest(images: NDArray[np.uint8], labels: NDArray[np.intp]) -> str:
    """Return the SHA-256 of labels and pixels, in hexadecimal: it identifies a data set."""
    found = hashlib.sha256(labels.astype("<u2").tobytes())
    found.update(images.data)
    return found.hexdigest()
