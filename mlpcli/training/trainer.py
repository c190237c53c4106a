"""The training loop: a generator that yields one result per epoch; no printing, no files."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpcli.config.settings import Config, TrainingConfig
from mlpcli.data import features
from mlpcli.data.dataset import Dataset
from mlpcli.errors import CheckpointError, DivergedError
from mlpcli.nn.model import Model
from mlpcli.nn.optimizers import OPTIMIZERS
from mlpcli.nn.schedules import SCHEDULES, Schedule
from mlpcli.quantities import ACCURACY, COUNT, FINITE, SECONDS, Quantity, optional
from mlpcli.training.evaluate import evaluate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EpochResult:
    """One epoch. Losses are means per image, accuracies lie in [0, 1]; None without a val split.

    The train metrics are those of the batches at the parameters of their own step.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    learning_rate: float  # of the epoch's last step
    images_per_second: float  # of the steps alone
    seconds: float  # of the epoch, validation included
    is_best: bool


def recorded(quantity: Quantity) -> Any:
    """A number of a training's progress, which begins at 0, or with none."""
    default = None if quantity.or_none else quantity.kind()
    return field(default=default, metadata={"quantity": quantity})


@dataclass
class Progress:
    """How far training has come: plain numbers, all that a resumed run needs beside its arrays."""

    epoch: int = recorded(COUNT)  # finished epochs
    step: int = recorded(COUNT)  # updates made
    position: int = recorded(COUNT)  # images of the current epoch that were used
    loss_sum: float = recorded(FINITE)  # over those images
    correct: int = recorded(COUNT)  # predictions of those images
    epoch_seconds: float = recorded(SECONDS)  # spent on those images
    images: int = recorded(COUNT)  # used in finished epochs
    seconds: float = recorded(SECONDS)  # spent on finished epochs
    best_epoch: int = recorded(COUNT)
    best_val_accuracy: float | None = recorded(optional(ACCURACY))
    best_val_loss: float | None = recorded(optional(FINITE))
    best_train_loss: float | None = recorded(optional(FINITE))


class Training:
    """A model, its data, and the state of its training."""

    def __init__(self, config: Config, dataset: Dataset) -> None:
        self.config, self.dataset, self.progress = config, dataset, Progress()
        dtype = np.dtype(config.training.dtype)
        size, classes = config.training.batch_size, len(dataset.label_names)
        train = dataset.splits["train"]
        # One stream for each purpose, so that the order of construction decides nothing.
        weights, order, augmentation = np.random.default_rng(config.seed).spawn(3)
        self.streams = {"order": order, "augmentation": augmentation}

        start = time.perf_counter()
        self.features = features.fit(config.features, train)
        log.debug(
            "features: %s, %s inputs, fitted on %s images in %.2f s",
            config.features.name,
            self.features.size,
            f"{len(train):,}",
            time.perf_counter() - start,
        )
        self.train_loader = self.features.loader(
            train, classes, size, dtype, config.augment, order, augmentation
        )
        self.val_loader = self.train_loader.in_order(dataset.splits["val"])

        sizes = config.model.layer_sizes(self.features.size, classes)
        self.model = Model(sizes, config.model.activation, config.loss, size, dtype)
        network = self.model.network
        network.initialize(config.model.initializer, weights)
        count = f"{network.params.size:,}"
        log.debug("network: %s, %s parameters, %s", "-".join(map(str, sizes)), count, dtype)
        self.optimizer = OPTIMIZERS[config.optimizer.name](
            network.params, network.grads, network.weights, **config.optimizer.options()
        )
        self.schedule = self.schedule_over(config.training.epochs)
        self._predictions, self._correct = np.empty(size, np.intp), np.empty(size, np.bool_)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return self._learning_rate(self.progress.step)

    def _learning_rate(self, step: int) -> float:
        epoch = step / len(self.train_loader)
        return self.config.optimizer.learning_rate * self.schedule(epoch)

    def schedule_over(self, epochs: int) -> Schedule:
        """Return the schedule of the learning rate, as it is if all are this many epochs."""
        schedule = self.config.schedule
        return SCHEDULES[schedule.name](epochs=epochs, **schedule.options())

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or patience has run out."""
        return self.has_finished(self.config.training)

    def has_finished(self, config: TrainingConfig) -> bool:
        """Whether it would be finished, with the epochs and the patience of this configuration."""
        epoch, patience = self.progress.epoch, config.patience or math.inf
        return epoch >= config.epochs or epoch - self.progress.best_epoch >= patience

    def epochs(self, on_step: Callable[[Progress], None]) -> Iterator[EpochResult]:
        """Train to the end: yield after each epoch, call `on_step` after each step.

        `on_step` may raise; the state is then that of a finished step, ready to be saved.
        Raises DivergedError as soon as a loss or a parameter is not finite.
        """
        while not self.finished:
            yield self._epoch(on_step)

    @np.errstate(all="ignore")  # what is not finite is found, and named by _diverged
    def _epoch(self, on_step: Callable[[Progress], None]) -> EpochResult:
        progress, model = self.progress, self.model
        clock = time.perf_counter()
        for X, Y, labels in self.train_loader:
            learning_rate = self.learning_rate
            T = model.forward(X)
            loss = model.loss(T, Y)
            if not math.isfinite(loss):
                raise self._diverged(f"the loss is {loss}", learning_rate)
            correct = self._count_correct(T, labels)
            model.backward(T, Y)
            self.optimizer.step(learning_rate)

            progress.step += 1
            progress.position += len(labels)
            progress.loss_sum += loss * len(labels)
            progress.correct += correct
            now = time.perf_counter()
            progress.epoch_seconds += now - clock
            clock = now
            on_step(progress)
        return self._finish_epoch(clock)

    def _finish_epoch(self, clock: float) -> EpochResult:
        progress = self.progress
        count, train_seconds = len(self.train_loader.sampler.order), progress.epoch_seconds
        learning_rate = self._learning_rate(progress.step - 1)
        val_loss = val_accuracy = None
        self._require_finite(learning_rate)
        if len(self.dataset.splits["val"]):
            val = evaluate(self.model, self.val_loader)
            val_loss, val_accuracy = val.loss, val.accuracy
            if not math.isfinite(val_loss):
                raise self._diverged(f"the validation loss is {val_loss}", learning_rate)

        progress.epoch += 1
        progress.images += count
        best = progress.best_val_accuracy
        is_best = val_accuracy is None or best is None or val_accuracy > best
        train_loss = progress.loss_sum / count
        if is_best:
            progress.best_epoch = progress.epoch
            progress.best_val_accuracy, progress.best_val_loss = val_accuracy, val_loss
            progress.best_train_loss = train_loss
        seconds = train_seconds + time.perf_counter() - clock
        progress.seconds += seconds
        result = EpochResult(
            epoch=progress.epoch,
            train_loss=train_loss,
            train_accuracy=progress.correct / count,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            learning_rate=learning_rate,
            images_per_second=count / train_seconds,
            seconds=seconds,
            is_best=is_best,
        )
        progress.position = progress.correct = 0
        progress.loss_sum = progress.epoch_seconds = 0.0
        return result

    def _count_correct(self, T: NDArray[Any], labels: NDArray[np.intp]) -> int:
        n = len(labels)
        predictions = np.argmax(T, axis=1, out=self._predictions[:n])
        return int(np.count_nonzero(np.equal(predictions, labels, out=self._correct[:n])))

    def _require_finite(self, learning_rate: float) -> None:
        for array in (self.model.network.params, *self.optimizer.state.values()):
            if not np.isfinite(array).all():
                raise self._diverged("a parameter is not finite", learning_rate)

    def _diverged(self, what: str, learning_rate: float) -> DivergedError:
        at = f"epoch {self.progress.epoch + 1}, step {self.progress.step + 1}"
        return DivergedError(f"training diverged: {what} at {at}, learning rate {learning_rate:g}")

    # What a checkpoint holds.

    @np.errstate(all="ignore")  # what is not finite is refused below
    def pixel_params(self) -> dict[str, NDArray[Any]]:
        """Return W1, b1, W2, b2, … of the same network on flattened pixels in [0, 1].

        Raises DivergedError where folding overflows.
        """
        arrays = dict(self.model.network.named_params)
        W, b = self.features.fold(arrays["W1"], arrays["b1"])
        if not (np.isfinite(W).all() and np.isfinite(b).all()):
            raise self._diverged("the weights on pixels are not finite", self.learning_rate)
        return arrays | {"W1": W, "b1": b}

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the arrays and the plain values from which `restore` resumes bit by bit.

        Raises DivergedError where they are not finite.
        """
        self._require_finite(self.learning_rate)
        arrays = {"params": self.model.network.params, "order": self.train_loader.sampler.order}
        arrays |= self.optimizer.state
        streams = {name: rng.bit_generator.state for name, rng in self.streams.items()}
        return arrays, {"progress": asdict(self.progress), "rng": streams}

    def restore(self, arrays: dict[str, NDArray[Any]], values: dict[str, Any]) -> None:
        """Restore a saved state; raises CheckpointError where it is not one of this training."""
        own, _ = self.state()
        if not arrays:
            raise CheckpointError("it holds the network alone, and no state to resume from")
        if arrays.keys() != own.keys():
            found, expected = ", ".join(arrays), ", ".join(own)
            raise CheckpointError(f"its state holds {found}, expected {expected}")
        for name, array in own.items():
            if arrays[name].shape != array.shape or arrays[name].dtype != array.dtype:
                raise CheckpointError(f"its state has no {name} of {array.shape} {array.dtype}")
        if not np.array_equal(np.sort(arrays["order"]), self.dataset.splits["train"].rows):
            raise CheckpointError("its order is not one of the training images")
        try:
            progress = Progress(**values["progress"])
            self._require_valid(progress)
            for name, rng in self.streams.items():
                rng.bit_generator.state = values["rng"][name]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise CheckpointError(f"its state is not valid: {error}") from None
        for name, array in own.items():
            array[...] = arrays[name]
        self.progress = progress
        self.train_loader.sampler.position = progress.position

    def _require_valid(self, progress: Progress) -> None:
        """Raise ValueError where a number is out of range, or does not agree with the others."""
        for item in fields(progress):
            value, quantity = getattr(progress, item.name), item.metadata["quantity"]
            if not quantity.holds(value):
                raise ValueError(f"{item.name} is {repr(value)[:40]}, expected {quantity}")
        count, begun = len(self.train_loader.sampler.order), progress.epoch > 0
        validated = begun and len(self.dataset.splits["val"]) > 0
        batches = math.ceil(progress.position / self.config.training.batch_size)
        consistent = {
            "step": progress.step == progress.epoch * len(self.train_loader) + batches,
            "position": progress.position <= count,
            "correct": progress.correct <= progress.position,
            "epoch_seconds": (progress.epoch_seconds > 0) == (progress.position > 0),
            "images": progress.images == progress.epoch * count,
            "seconds": (progress.seconds > 0) == begun,
            "best_epoch": begun <= progress.best_epoch <= progress.epoch,
            "best_val_accuracy": (progress.best_val_accuracy is not None) == validated,
            "best_val_loss": (progress.best_val_loss is not None) == validated,
            "best_train_loss": (progress.best_train_loss is not None) == begun,
        }
        for name, agrees in consistent.items():
            if not agrees:
                at = f"after {progress.epoch} epochs and {progress.position} images"
                raise ValueError(f"{name} is {getattr(progress, name)} {at}")
