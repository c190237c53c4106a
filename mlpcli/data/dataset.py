"""The data set as training and evaluation see it: images, labels, and the rows of each split."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mlpcli.cifar10 import batches, synthetic
from mlpcli.config.settings import DataConfig
from mlpcli.errors import ConfigError
from mlpcli.files import expanded

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


@dataclass(frozen=True)
class Images:
    """What was read, before it is split."""

    images: NDArray[np.uint8]
    labels: NDArray[np.intp]
    label_names: tuple[str, ...]
    digest: str


def load_train_val(config: DataConfig) -> Dataset:
    """Read the training images and set `val_size` of them aside; the test images are not read.

    Raises DataError where the files are missing or not what CIFAR-10 holds, and ConfigError where
    they hold too few images for `val_size`.
    """
    return split_train_val(read_train(config), config)


def read_train(config: DataConfig) -> Images:
    """Read the training images; raises DataError as `load_train_val` does."""
    names, images, labels = _read(config, "training")
    return Images(images, labels, names, _digest(images, labels))


def split_train_val(read: Images, config: DataConfig) -> Dataset:
    """Set `val_size` of the training images aside; raises ConfigError where they are too few."""
    images, labels = read.images, read.labels
    if config.val_size >= len(labels):
        raise ConfigError(
            f"data.val_size is {config.val_size}, expected fewer than the {len(labels)} images"
        )
    val = stratified_rows(labels, config.val_size, np.random.default_rng(config.val_seed))
    train = np.setdiff1d(np.arange(len(labels)), val, assume_unique=True)
    splits: dict[SplitName, Split] = {
        "train": Split(images, labels, train),
        "val": Split(images, labels, val),
    }
    return Dataset(splits, read.label_names, read.digest)


def load_test(config: DataConfig) -> Dataset:
    """Read the test images and no others; raises DataError as `load_train_val` does."""
    names, images, labels = _read(config, "test")
    split = Split(images, labels, np.arange(len(labels)))
    return Dataset({"test": split}, names, _digest(images, labels))


def _read(
    config: DataConfig, part: Literal["training", "test"]
) -> tuple[tuple[str, ...], NDArray[np.uint8], NDArray[np.intp]]:
    start, training = time.perf_counter(), part == "training"
    if config.name == "synthetic":
        names, where = synthetic.LABEL_NAMES, "drawn on the spot"
        images, labels = synthetic.draw_train() if training else synthetic.draw_test()
    else:
        path = data_dir(config.dir)
        folder = batches.open_folder(path)
        names, where = folder.label_names, f"read from {path}"
        images, labels = folder.read(batches.TRAIN_BATCHES if training else batches.TEST_BATCHES)
    seconds = time.perf_counter() - start
    log.debug("%s images: %s %s in %.2f s", part, f"{len(labels):,}", where, seconds)
    return names, images, labels


def data_dir(chosen: str | Path | None) -> Path:
    """Return `chosen`, else $MLPCLI_DATA_DIR, else mlpcli's folder in the user's cache."""
    if chosen is None:
        chosen = os.environ.get("MLPCLI_DATA_DIR")
    if not chosen:
        cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        chosen = Path(cache) / "mlpcli"
    return expanded(Path(chosen))


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
    """SHA-256 over labels and pixels: two data sets with the same digest are the same."""
    digest = hashlib.sha256(labels.astype("<u2").tobytes())
    digest.update(images.data)
    return digest.hexdigest()
