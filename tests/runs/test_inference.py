"""Predictions of a saved network against the equations in float64."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import untrained

from mlpcli.errors import CheckpointError
from mlpcli.nn.losses import LOSSES
from mlpcli.runs.checkpoint import Checkpoint
from mlpcli.runs.inference import BATCH_SIZE, predict

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (2 * BATCH_SIZE + 7, 3072), np.uint8)


def checkpoint(loss: str, dtype: str = "float64") -> Checkpoint:
    return untrained(loss, 5, ("a", "b", "c"), dtype, scale=0.05)


def sigmoid(T: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-T))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("count", [0, 1, BATCH_SIZE, len(IMAGES)])
def test_probabilities_are_the_losses_own_however_many_images(loss: str, count: int) -> None:
    saved = checkpoint(loss)
    images = IMAGES[:count]
    W1, b1, W2, b2 = saved.named_params.values()
    T = sigmoid(images / 255 @ W1 + b1) @ W2 + b2
    E = np.exp(T)
    expected = E / E.sum(axis=1, keepdims=True) if loss.startswith("softmax") else sigmoid(T)
    probs = predict(saved, images)
    assert probs.dtype == np.float64
    assert probs.shape == (count, 3)
    np.testing.assert_allclose(probs, expected, rtol=1e-12)


def test_probabilities_of_a_float32_network_are_float64_from_its_logits() -> None:
    saved = checkpoint("softmax_cross_entropy", "float32")
    probs = predict(saved, IMAGES)
    assert np.abs(probs.sum(axis=1) - 1).max() < 1e-15
    logits = saved.model(BATCH_SIZE).forward((IMAGES[:BATCH_SIZE] / 255).astype(np.float32))
    np.testing.assert_array_equal(probs[:BATCH_SIZE].argmax(axis=1), logits.argmax(axis=1))


def test_weights_that_overflow_are_an_error() -> None:
    saved = checkpoint("softmax_cross_entropy", "float32")
    saved.named_params["b1"][:], saved.named_params["W2"][:] = 100, 1e38  # five units of 1: 5e38
    with pytest.raises(CheckpointError, match="overflow"):
        predict(saved, IMAGES[:3])
