"""Predictions of a saved network against the equations in float64."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import untrained

from mlpcli.cifar10 import synthetic
from mlpcli.config.settings import Cifar10Config
from mlpcli.data.dataset import SplitName, load_test, load_train_val
from mlpcli.errors import CheckpointError, DataError
from mlpcli.nn.losses import LOSSES
from mlpcli.runs.checkpoint import Checkpoint
from mlpcli.runs.inference import BATCH_SIZE, evaluate_checkpoint, predict, split_for

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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_in_0_1_are_the_pixels_of_bytes(dtype: str) -> None:
    saved = checkpoint("sigmoid_cross_entropy", dtype)
    np.testing.assert_allclose(
        predict(saved, IMAGES[:3] / 255), predict(saved, IMAGES[:3]), rtol=1e-5
    )


def test_a_single_logit_that_overflows_is_an_error() -> None:
    saved = checkpoint("softmax_cross_entropy", "float32")
    saved.named_params["b2"][2] = np.inf
    with pytest.raises(CheckpointError, match="overflow"):
        predict(saved, IMAGES[:3])


@pytest.fixture
def on_shapes(shapes_dir: Path) -> Checkpoint:
    """A network of the classes of the small data set, of whose 200 images 50 are held out."""
    saved = untrained("softmax_cross_entropy", 5, synthetic.LABEL_NAMES, "float64", scale=0.05)
    return replace(saved, config=replace(saved.config, data=Cifar10Config(val_size=50)))


@pytest.mark.parametrize(("name", "count"), [("train", 150), ("val", 50), ("test", 40)])
def test_a_split_is_evaluated_on_all_its_images(
    on_shapes: Checkpoint, shapes_dir: Path, name: SplitName, count: int
) -> None:
    found = evaluate_checkpoint(on_shapes, name, shapes_dir)
    data = replace(on_shapes.config.data, dir=str(shapes_dir))
    split = (load_test if name == "test" else load_train_val)(data).splits[name]
    P, labels = predict(on_shapes, split.images[split.rows]), split.labels[split.rows]
    assert found.count == len(split) == count
    assert found.accuracy == (P.argmax(axis=1) == labels).mean()
    assert found.loss == pytest.approx(-np.log(P[np.arange(count), labels]).mean(), rel=1e-12)


def test_an_empty_split_and_other_classes_are_refused(
    on_shapes: Checkpoint, shapes_dir: Path
) -> None:
    config = replace(on_shapes.config, data=Cifar10Config(val_size=0))
    with pytest.raises(DataError, match=r"the val split is empty: data\.val_size was 0"):
        split_for(replace(on_shapes, config=config), "val", shapes_dir)
    assert len(split_for(replace(on_shapes, config=config), "train", shapes_dir)) == 200
    names = tuple("abcdefghij")
    with pytest.raises(DataError, match="expected a, b, c, d, e, f, g, h, i, j"):
        split_for(replace(on_shapes, label_names=names), "test", shapes_dir)


def test_weights_that_overflow_are_an_error() -> None:
    saved = checkpoint("softmax_cross_entropy", "float32")
    saved.named_params["b1"][:], saved.named_params["W2"][:] = 100, 1e38  # five units of 1: 5e38
    with pytest.raises(CheckpointError, match="overflow"):
        predict(saved, IMAGES[:3])
