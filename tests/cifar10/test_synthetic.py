"""The embedded shapes: the same for everyone, and a real test of learning."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import CONFIGS

from mlpcli.cifar10 import synthetic
from mlpcli.config import loading as config
from mlpcli.data import dataset
from mlpcli.training.evaluate import evaluate
from mlpcli.training.trainer import Training


def test_a_seed_draws_the_same_images_and_another_does_not() -> None:
    first, again, other = (synthetic.draw(50, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    assert (first[0] != other[0]).any()


def test_every_kind_is_drawn_equally_often() -> None:
    images, labels = synthetic.draw(200, np.random.default_rng(0))
    assert np.bincount(labels).tolist() == [20] * 10
    assert images.shape == (200, 3072)
    assert images.dtype == np.uint8
    assert len(synthetic.LABEL_NAMES) == 10


def test_test_images_are_not_training_images() -> None:
    train, test = synthetic.draw_train()[0], synthetic.draw_test()[0]
    assert (len(train), len(test)) == (10_000, 2_000)
    assert not {row.tobytes() for row in train} & {row.tobytes() for row in test}


@pytest.mark.slow
def test_the_network_learns_what_logistic_regression_cannot() -> None:
    accuracies = {}
    for hidden in ("[512]", "[]"):
        sets = [f"model.hidden={hidden}", "training.epochs=6"]
        settings = config.load(CONFIGS / "smoke.yaml", sets)
        training = Training(settings, dataset.load_train_val(settings.data))
        for _ in training.epochs(lambda progress: None):
            pass
        test = dataset.load_test(settings.data).splits["test"]
        loader = training.features.loader(test, 10, 128, np.float32)
        accuracies[hidden] = evaluate(training.model, loader).accuracy
    assert accuracies["[512]"] > accuracies["[]"] + 0.2
    assert accuracies["[]"] > 0.1 or pytest.fail("below chance: the labels do not fit the images")
