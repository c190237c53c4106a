"""The real CIFAR-10, where it is at hand: every pixel, every label, and a network that learns."""

from __future__ import annotations

import json
import pickle
import time
from pathlib import Path

import numpy as np
from conftest import CONFIGS, Command

from mlpcli.cifar10 import batches


def test_all_60000_images_and_labels_are_those_that_pickle_reads(real_data_dir: Path) -> None:
    folder = batches.open_folder(real_data_dir)
    for names in (batches.TRAIN_BATCHES, batches.TEST_BATCHES):
        images, labels = folder.read(names)
        for i, name in enumerate(names):
            raw = (real_data_dir / batches.PYTHON_FOLDER / name).read_bytes()
            batch = pickle.loads(raw, encoding="latin1")
            part = slice(i * 10_000, (i + 1) * 10_000)
            np.testing.assert_array_equal(images[part], batch["data"])
            np.testing.assert_array_equal(labels[part], batch["labels"])
        assert len(images) == 10_000 * len(names)
    assert folder.label_names[:3] == ("airplane", "automobile", "bird")


def test_the_channel_means_are_those_of_cifar10(real_data_dir: Path) -> None:
    images, labels = batches.open_folder(real_data_dir).read(batches.TRAIN_BATCHES)
    means = images.reshape(-1, 3, 1024).mean(axis=(0, 2)) / 255
    np.testing.assert_allclose(means, [0.4914, 0.4822, 0.4465], atol=1e-4)
    assert np.bincount(labels).tolist() == [5000] * 10


def test_the_notes_network_learns_from_the_shell(mlpcli: Command, real_data_dir: Path) -> None:
    data, begin = ("--data-dir", real_data_dir), time.monotonic()
    sets = ("--set", "training.epochs=2")
    done = mlpcli("train", CONFIGS / "note.yaml", *sets, *data, "--min-val-accuracy", "0.35")
    assert done.returncode == 0, f"{done.stderr} after {time.monotonic() - begin:.0f} s"
    table = mlpcli("eval", "runs/note-1", *data)
    assert max(map(len, table.stdout.splitlines())) <= 80
    document = json.loads(mlpcli("eval", "runs/note-1", *data, "--json").stdout)
    assert document["count"] == 10_000
    assert document["accuracy"] > 0.35
