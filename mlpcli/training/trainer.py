"""The training loop: a generator that yields one result an epoch; no printing, no files."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpcli.config.settings import Config, options
from mlpcli.data import augment as warps
from mlpcli.data import features
from mlpcli.data.dataset import Dataset
from mlpcli.data.features import Components
from mlpcli.data.inputs import Dropout, inputs_of
from mlpcli.data.minibatches import Gatherer, Shuffler
from mlpcli.errors import CheckpointError, DivergedError
from mlpcli.nn.losses import LOSSES
from mlpcli.nn.network import Network
from mlpcli.nn.optimizers import OPTIMIZERS
from mlpcli.nn.schedules import SCHEDULES
from mlpcli.training.evaluate import evaluate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EpochResult:
    """One epoch. Losses are means an image, accuracies lie in [0, 1]; None without a val split.

    The train figures are those of the batches as they came, while the network was still moving.
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


@dataclass
class Progress:
    """How far training has come: plain numbers, all that a resumed run needs beside its arrays."""

    epoch: int = 0  # finished epochs
    step: int = 0  # updates made
    position: int = 0  # images of the running epoch that are done
    loss_sum: float = 0.0  # over those images
    correct: int = 0  # of those images
    epoch_seconds: float = 0.0  # spent on those images
    images: int = 0  # done in all, and the seconds spent on them
    seconds: float = 0.0
    best_epoch: int = 0
    best_val_accuracy: float | None = None
    best_val_loss: float | None = None
    best_train_loss: float | None = None


class Training:
    """A network, its data, and the state of its training."""

    def __init__(self, config: Config, dataset: Dataset) -> None:
        self.config, self.dataset, self.progress = config, dataset, Progress()
        dtype = np.dtype(config.training.dtype)
        size, classes = config.training.batch_size, len(dataset.label_names)
        train, val = dataset.splits["train"], dataset.splits["val"]

        self.rng = np.random.default_rng(config.seed)
        start = time.perf_counter()
        self.features = features.fit(config.features, train)
        log.debug(
            "features: %s, %s inputs, fitted on %s images in %.2f s",
            config.features.name,
            self.features.size,
            f"{len(train):,}",
            time.perf_counter() - start,
        )
        self.network = Network(
            (self.features.size, *config.model.hidden, classes),
            config.model.activation,
            size,
            dtype,
        )
        sizes = "-".join(map(str, self.network.layer_sizes))
        log.debug("network: %s, %s parameters, %s", sizes, f"{self.network.params.size:,}", dtype)
        self.network.initialize(config.model.initializer, self.rng)
        self.loss = LOSSES[config.loss](size, classes, dtype)
        network = self.network
        self.optimizer = OPTIMIZERS[config.optimizer.name](
            network.params, network.grads, network.weights, **options(config.optimizer)
        )
        self.schedule = SCHEDULES[config.schedule.name](
            epochs=config.training.epochs, **options(config.schedule)
        )
        moved = None
        if config.augment.warps and isinstance(self.features, Components):
            moved = warps.draw(config.augment, self.features, dtype, self.rng)
        self.shuffler = Shuffler(
            train.rows,
            size,
            flips=config.augment.flips,
            warps=0 if moved is None else len(moved),
            rng=self.rng,
        )
        inputs = inputs_of(train.images, self.features, size, dtype, moved)
        dropped = Dropout(inputs, config.augment.input_dropout, size, self.features.size, self.rng)
        self.train_batches = Gatherer(train, dropped, classes, size, dtype)
        self.val_batches = Gatherer(val, inputs, classes, size, dtype)
        self._guesses, self._hits = np.empty(size, np.intp), np.empty(size, np.bool_)

    @property
    def learning_rate(self) -> float:
        """That of the next step."""
        epoch = self.progress.step / len(self.shuffler)
        return self.config.optimizer.learning_rate * self.schedule(epoch)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or patience has run out."""
        epoch, patience = self.progress.epoch, self.config.training.patience or math.inf
        return epoch >= self.config.training.epochs or epoch - self.progress.best_epoch >= patience

    def epochs(self, on_step: Callable[[Progress], None]) -> Iterator[EpochResult]:
        """Train to the end: yield after each epoch, call `on_step` after each step.

        `on_step` may raise; the state is then that of a finished step, ready to be saved.
        Raises DivergedError as soon as a loss or a parameter is not finite.
        """
        while not self.finished:
            yield self._epoch(on_step)

    @np.errstate(all="ignore")  # what is not finite is found, and named by _diverged
    def _epoch(self, on_step: Callable[[Progress], None]) -> EpochResult:
        progress, network, loss = self.progress, self.network, self.loss
        clock = time.perf_counter()
        for draw in self.shuffler:
            learning_rate = self.learning_rate
            X, Y, labels = self.train_batches.gather(draw)
            T = network.forward(X)
            batch_loss = loss.forward(T, Y)
            if not math.isfinite(batch_loss):
                raise self._diverged(f"the loss is {batch_loss}", learning_rate)
            correct = self._count_correct(T, labels)
            network.backward(loss.backward(T, Y))
            self.optimizer.step(learning_rate)

            progress.step += 1
            progress.position += len(draw.rows)
            progress.loss_sum += batch_loss * len(draw.rows)
            progress.correct += correct
            now = time.perf_counter()
            progress.epoch_seconds += now - clock
            clock = now
            on_step(progress)
        return self._finish_epoch(clock)

    def _finish_epoch(self, clock: float) -> EpochResult:
        progress = self.progress
        count, train_seconds = len(self.shuffler.order), progress.epoch_seconds
        step = max(progress.step - 1, 0) / len(self.shuffler)
        learning_rate = self.config.optimizer.learning_rate * self.schedule(step)
        val_loss = val_accuracy = None
        self._require_finite(learning_rate)
        if len(self.dataset.splits["val"]):
            val = evaluate(self.network, self.loss, self.val_batches.in_order())
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
        guesses = np.argmax(T, axis=1, out=self._guesses[:n])
        return int(np.count_nonzero(np.equal(guesses, labels, out=self._hits[:n])))

    def _require_finite(self, learning_rate: float) -> None:
        for array in (self.network.params, *self.optimizer.state.values()):
            if not np.isfinite(array).all():
                raise self._diverged("a parameter is not finite", learning_rate)

    def _diverged(self, what: str, learning_rate: float) -> DivergedError:
        at = f"epoch {self.progress.epoch + 1}, step {self.progress.step + 1}"
        return DivergedError(
            f"training diverged: {what} at {at}, learning rate {learning_rate:g}",
            hint="a smaller optimizer.learning_rate or a schedule.warmup_epochs may help",
        )

    # What a checkpoint holds.

    def pixel_parameters(self) -> dict[str, NDArray[Any]]:
        """Return W1, b1, W2, b2, … of the same network on flattened pixels in [0, 1].

        Raises DivergedError where folding overflows.
        """
        arrays = dict(self.network.parameters)
        W, b = self.features.fold(arrays["W1"], arrays["b1"])
        if not (np.isfinite(W).all() and np.isfinite(b).all()):
            raise self._diverged("the weights on pixels are not finite", self.learning_rate)
        return arrays | {"W1": W, "b1": b}

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the arrays and the plain values from which `restore` goes on to the last bit.

        Raises DivergedError where they are not finite: nothing good comes after that.
        """
        self._require_finite(self.learning_rate)
        arrays = {"params": self.network.params, "order": self.shuffler.order}
        arrays |= self.optimizer.state
        return arrays, {"progress": asdict(self.progress), "rng": self.rng.bit_generator.state}

    def restore(self, arrays: dict[str, NDArray[Any]], values: dict[str, Any]) -> None:
        """Take up a saved state; raises CheckpointError where it is not one of this training."""
        own, _ = self.state()
        if not arrays:
            raise CheckpointError("it holds the network alone, and no state to go on from")
        if arrays.keys() != own.keys():
            found, expected = ", ".join(arrays), ", ".join(own)
            raise CheckpointError(f"its state holds {found}, expected {expected}")
        for name, array in own.items():
            if arrays[name].shape != array.shape or arrays[name].dtype != array.dtype:
                raise CheckpointError(f"its state has no {name} of {array.shape} {array.dtype}")
        if not np.array_equal(np.sort(arrays["order"]), self.dataset.splits["train"].rows):
            raise CheckpointError("its order is not one of the training images")
        try:
            progress = _checked(Progress(**values["progress"]))
            self.rng.bit_generator.state = values["rng"]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise CheckpointError(f"its state is not whole: {error}") from None
        batches = math.ceil(progress.position / self.config.training.batch_size)
        step = progress.epoch * len(self.shuffler) + batches
        if progress.step != step or progress.position > len(self.shuffler.order):
            raise CheckpointError(f"step {progress.step} is not one of epoch {progress.epoch + 1}")
        for name, array in own.items():
            array[...] = arrays[name]
        self.progress = progress
        self.shuffler.position = progress.position


def _checked(progress: Progress) -> Progress:
    """Return `progress` if each of its values is of the kind it has at the start, or a number."""
    for item in fields(progress):
        value = getattr(progress, item.name)
        if item.type == "int":
            whole = type(value) is int and value >= 0
        else:
            none = value is None and item.default is None
            whole = none or (type(value) is float and math.isfinite(value))
        if not whole:
            raise ValueError(f"{item.name} is {value!r}")
    return progress
