"""Reads a data set: the batch files of CIFAR-10, or the embedded shapes in their place."""

from __future__ import annotations

import logging
import time
from typing import Literal

import numpy as np

from mlpcli.cifar10 import batches, synthetic
from mlpcli.config.loading import DataConfig
from mlpcli.data.dataset import Dataset, Split, digest, hold_out
from mlpcli.files import data_dir

log = logging.getLogger(__name__)


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
    start, training = time.perf_counter(), name == "train"
    if config.name == "synthetic":
        label_names, source = synthetic.LABEL_NAMES, "generated"
        images, labels = synthetic.draw_train() if training else synthetic.draw_test()
    else:
        path = data_dir(config.dir)
        folder = batches.open_folder(path)
        label_names, source = folder.label_names, f"read from {path}"
        images, labels = folder.read(batches.TRAIN_BATCHES if training else batches.TEST_BATCHES)
    seconds = time.perf_counter() - start
    kind, count = "training" if training else "test", f"{len(labels):,}"
    log.debug("%s images: %s %s in %.2f s", kind, count, source, seconds)
    split = Split(images, labels, np.arange(len(labels)))
    return Dataset({name: split}, label_names, digest(images, labels))
