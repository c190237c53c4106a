"""Inference with a saved network: class probabilities of images, metrics on a split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpcli.data import dataset
from mlpcli.data.dataset import Split, SplitName
from mlpcli.data.features import PLAIN
from mlpcli.errors import CheckpointError, DataError
from mlpcli.nn.losses import LOSSES
from mlpcli.runs.checkpoint import Checkpoint
from mlpcli.runs.folder import with_data_dir
from mlpcli.training.evaluate import Evaluation, evaluate

BATCH_SIZE = 500  # of a saved network's evaluation, where nothing is trained


def split_for(checkpoint: Checkpoint, split_name: SplitName, data_dir: Path | None) -> Split:
    """Read a split of the data set that a saved network was trained on, or of `data_dir`.

    Raises DataError where it is empty, or its classes are not those of the network.
    """
    data = with_data_dir(checkpoint.config, data_dir, recorded=True).data
    read = dataset.load_test if split_name == "test" else dataset.load_train_val
    found = read(data)
    if found.label_names != checkpoint.label_names:
        raise DataError(
            f"the data has the classes {', '.join(found.label_names)}, "
            f"expected {', '.join(checkpoint.label_names)}"
        )
    split = found.splits[split_name]
    if not len(split):
        raise DataError(f"the {split_name} split is empty: data.val_size was {data.val_size}")
    return split


def evaluate_checkpoint(
    checkpoint: Checkpoint, split_name: SplitName, data_dir: Path | None
) -> Evaluation:
    """Evaluate a saved network on the split that `split_for` reads; raises DataError as it does."""
    split, classes = split_for(checkpoint, split_name, data_dir), len(checkpoint.label_names)
    model = checkpoint.model(BATCH_SIZE)
    return evaluate(model, PLAIN.loader(split, classes, BATCH_SIZE, model.network.params.dtype))


def predict(checkpoint: Checkpoint, images: NDArray[Any]) -> NDArray[np.float64]:
    """Return the probabilities Ŷ, float64 (N, K), of images as `logits` takes them.

    Ŷ is the loss's own: with softmax a row sums to 1, with sigmoids each class has a probability of
    its own. Raises CheckpointError as `logits` does.
    """
    T = logits(checkpoint, images).astype(np.float64)
    count, classes = T.shape
    with np.errstate(all="ignore"):  # a probability that underflows is 0
        return LOSSES[checkpoint.config.loss](count, classes, np.float64).probs(T)


@np.errstate(all="ignore")  # what is not finite is refused below
def logits(checkpoint: Checkpoint, images: NDArray[Any]) -> NDArray[Any]:
    """Return the logits T, (N, K), of images (N, 3072), uint8 or floats in [0, 1], in chunks.

    Raises CheckpointError where the weights are so large that one is not finite.
    """
    model = checkpoint.model(BATCH_SIZE)
    dtype = model.network.params.dtype
    T = np.empty((len(images), len(checkpoint.label_names)), dtype)
    for start in range(0, len(images), BATCH_SIZE):
        chunk = images[start : start + BATCH_SIZE]
        X = PLAIN.apply(chunk, dtype) if chunk.dtype == np.uint8 else chunk.astype(dtype)
        T[start : start + BATCH_SIZE] = model.forward(X)
    if not np.isfinite(T).all():
        raise CheckpointError("the network's logits overflow: its weights are too large")
    return T
