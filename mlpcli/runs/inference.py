"""Inference with a saved network: class probabilities of images, metrics on a split."""

from __future__ import annotations

from pathlib import Path

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
    data = with_data_dir(checkpoint.config, data_dir).data
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


@np.errstate(all="ignore")  # what is not finite is refused below
def predict(checkpoint: Checkpoint, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the probabilities Ŷ, float64 (N, K), of uint8 images (N, 3072), in chunks.

    Ŷ is the loss's own: with softmax a row sums to 1, with sigmoids each class has a probability of
    its own. Raises CheckpointError where the weights are so large that one is not finite.
    """
    size = min(max(len(images), 1), BATCH_SIZE)
    model = checkpoint.model(size)
    classes = len(checkpoint.label_names)
    loss = LOSSES[checkpoint.config.loss](size, classes, np.float64)
    probs = np.empty((len(images), classes))
    for start in range(0, len(images), size):
        chunk = slice(start, start + size)
        logits = model.forward(PLAIN.apply(images[chunk], model.network.params.dtype))
        probs[chunk] = loss.probs(logits.astype(np.float64))
    if not np.isfinite(probs).all():
        raise CheckpointError("the network's logits overflow: its weights are too large")
    return probs
