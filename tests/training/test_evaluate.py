"""Evaluation: the loss of every image and the confusion of every class, by whole arrays."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import draw_split

from mlpcli.data.features import PLAIN
from mlpcli.nn.losses import LOSSES
from mlpcli.nn.model import Model
from mlpcli.training.evaluate import evaluate


@pytest.mark.parametrize("loss", LOSSES)
def test_loss_and_confusion_are_over_all_images_with_a_short_last_batch(loss: str) -> None:
    split, rng = draw_split(70), np.random.default_rng(0)
    model = Model((3072, 10), loss=loss, batch_size=32, dtype=np.float64)
    model.network.params[...] = 0.05 * rng.standard_normal(model.network.params.size)
    found = evaluate(model, PLAIN.loader(split, 10, 32, np.float64))

    P, one_hot = model.network.named_params, np.eye(10)[split.labels]
    T = split.images / 255 @ P["W1"] + P["b1"]
    sigma, E = 1 / (1 + np.exp(-T)), np.exp(T)
    per_image = {
        "sigmoid_cross_entropy": -np.log(np.where(one_hot == 1, sigma, 1 - sigma)).sum(axis=1),
        "squared_error": 0.5 * ((sigma - one_hot) ** 2).sum(axis=1),
        "softmax_cross_entropy": -np.log(E / E.sum(axis=1, keepdims=True))[one_hot == 1],
    }[loss]
    assert found.loss == pytest.approx(per_image.mean(), rel=1e-12)
    counts = np.zeros((10, 10), int)
    for label, prediction in zip(split.labels, T.argmax(axis=1), strict=True):
        counts[label, prediction] += 1
    np.testing.assert_array_equal(found.counts, counts)
    assert found.accuracy == (T.argmax(axis=1) == split.labels).mean()


def test_a_loss_that_overflows_is_not_finite_and_no_warning() -> None:
    model = Model((3072, 10), loss="squared_error", batch_size=32)
    model.network.params[...] = np.inf
    assert math.isnan(evaluate(model, PLAIN.loader(draw_split(40), 10, 32, np.float32)).loss)
