"""The real CIFAR-10, where it is at hand: every pixel, every label, and a network that learns."""

from __future__ import annotations

import json
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import CONFIGS, Command

from mlpcli.cifar10 import batches
from mlpcli.config import loading as config
from mlpcli.data import dataset
from mlpcli.data.features import PLAIN
from mlpcli.nn.model import Model
from mlpcli.training.trainer import Training


def test_all_60000_images_and_labels_are_those_that_pickle_reads(real_data_dir: Path) -> None:
    with batches.open_folder(real_data_dir) as folder:
        for names in (batches.TRAIN_BATCHES, batches.TEST_BATCHES):
            images, labels = folder.read(names)
            for i, name in enumerate(names):
                raw = (real_data_dir / batches.PYTHON_FOLDER / name).read_bytes()
                batch = pickle.loads(raw, encoding="latin1")
                part = slice(i * 10_000, (i + 1) * 10_000)
                np.testing.assert_array_equal(images[part], batch["data"])
                np.testing.assert_array_equal(labels[part], batch["labels"])
            assert len(images) == 10_000 * len(names)
    assert folder.label_names == batches.LABEL_NAMES


def test_the_channel_means_are_those_of_cifar10(real_data_dir: Path) -> None:
    with batches.open_folder(real_data_dir) as folder:
        images, labels = folder.read(batches.TRAIN_BATCHES)
    means = images.reshape(-1, 3, 1024).mean(axis=(0, 2)) / 255
    np.testing.assert_allclose(means, [0.4914, 0.4822, 0.4465], atol=1e-4)
    assert np.bincount(labels).tolist() == [5000] * 10


@pytest.mark.slow
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


@pytest.mark.slow
def test_over_60_percent_in_seconds(mlpcli: Command, real_data_dir: Path) -> None:
    data = ("--data-dir", real_data_dir)
    done = mlpcli("train", CONFIGS / "fast.yaml", *data)
    assert done.returncode == 0, done.stderr
    done = mlpcli("eval", "runs/fast-1", *data, "--min-accuracy", "0.6")
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.mark.slow
def test_the_network_on_pixels_is_the_one_on_components(real_data_dir: Path) -> None:
    sets = [f"data.dir={real_data_dir}", "training.epochs=2"]
    settings = config.load(CONFIGS / "best.yaml", sets)
    training = Training(settings, dataset.load_train_val(settings.data))
    for _ in training.epochs(lambda progress: None):
        pass
    on_pixels = Model((3072, 512, 10), batch_size=500)
    for name, array in training.pixel_params().items():
        on_pixels.network.named_params[name][...] = array
    test = dataset.load_test(settings.data).splits["test"]
    on_components = training.model.in_dtype(np.float32, 500)
    logits = []
    for model, features in ((on_components, training.features), (on_pixels, PLAIN)):
        loader = features.loader(test, 10, 500, np.float32)
        logits.append(np.concatenate([model.forward(b.inputs).copy() for b in loader]))
    T, S = logits
    assert (T.argmax(axis=1) == S.argmax(axis=1)).mean() >= 0.9995
    probs = [1 / (1 + np.exp(-each.astype(np.float64))) for each in logits]
    np.testing.assert_allclose(*probs, atol=1e-4)
