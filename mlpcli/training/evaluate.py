"""Loss and confusion matrix of a network over the batches of a split."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mlpcli.data.loader import Batch
from mlpcli.metrics import Confusion, confusion_matrix
from mlpcli.nn.model import Model


@dataclass(frozen=True)
class Evaluation(Confusion):
    """A confusion, and the mean loss of its images."""

    loss: float


@np.errstate(all="ignore")  # a loss that is not finite says so itself
def evaluate(model: Model, batches: Iterable[Batch]) -> Evaluation:
    """Return the mean loss and the confusion matrix over all batches."""
    classes = model.network.layer_sizes[-1]
    counts = np.zeros((classes, classes), np.int64)
    total = 0.0
    for batch in batches:
        logits = model.forward(batch.inputs)
        total += model.loss(logits, batch.targets) * len(batch.labels)
        counts += confusion_matrix(batch.labels, np.argmax(logits, axis=1), classes)
    return Evaluation(counts, total / int(counts.sum()))
