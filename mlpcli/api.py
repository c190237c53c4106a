"""The Python API: train a configuration, load what it saved, read the images. See docs/api.md.

NumPy is imported inside functions: `train` sets the number of BLAS threads before it loads.
"""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mlpcli import environment
from mlpcli.config import loading
from mlpcli.config.settings import Config
from mlpcli.errors import InterruptedRunError
from mlpcli.files import expanded
from mlpcli.interrupts import stop_in_program
from mlpcli.runs import folder as runs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from mlpcli.data.dataset import Dataset, SplitName
    from mlpcli.runs.checkpoint import Checkpoint
    from mlpcli.training.evaluate import Evaluation
    from mlpcli.training.trainer import EpochResult, Progress, Training

PathLike = str | os.PathLike[str]
ConfigLike = PathLike | Config | Mapping[str, Any]

# The shapes of one image: planes in a row as CIFAR-10 stores them, planes, and pixels of 3 colours.
SHAPES = ((3072,), (3, 32, 32), (32, 32, 3))


def load(path: PathLike) -> Classifier:
    """Load a trained network: the best of a run's folder, or that of an .npz file.

    Raises MlpcliError where there is no valid checkpoint.
    """
    from mlpcli.runs import checkpoint

    return Classifier(checkpoint.load(runs.best_of(expanded(path))))


class Classifier:
    """A trained network, which never changes: it may be used from several threads at once.

    `label_names` are the K classes, `config` is what it was trained with, and `parameters` holds
    its read-only arrays W1 (3072, H), b1 (H,), W2, b2, … on flattened pixels in [0, 1].

    `images` are uint8, or floats in [0, 1], of the shape (N, 3072) or (N, 3, 32, 32), red, green
    and blue planes, or (N, 32, 32, 3). Any other shape or value is a ValueError, any other dtype a
    TypeError.
    """

    def __init__(self, saved: Checkpoint) -> None:
        self._saved = saved
        self.label_names, self.config = saved.label_names, saved.config
        self.parameters = dict(saved.named_params)
        for array in self.parameters.values():
            array.flags.writeable = False

    def __repr__(self) -> str:
        sizes = "-".join(map(str, self._saved.layer_sizes))
        return f"<mlpcli.Classifier {self.config.name}: {sizes}, {self.config.loss}>"

    def predict_proba(self, images: ArrayLike) -> NDArray[np.float64]:
        """Return the probability of each class, (N, K).

        With softmax_cross_entropy a row sums to 1; with the other losses each class has an
        independent probability.
        """
        from mlpcli.runs import inference

        return inference.predict(self._saved, _pixels(images))

    def predict(self, images: ArrayLike) -> NDArray[np.intp]:
        """Return the index of the predicted class, (N,): `label_names[k]` is its name."""
        from mlpcli.runs import inference

        return inference.logits(self._saved, _pixels(images)).argmax(axis=1)

    def evaluate(self, split: SplitName = "test", data_dir: PathLike | None = None) -> Evaluation:
        """Evaluate on the test, val or train split of the data set that it was trained on.

        The result has `accuracy`, its 95% `interval`, `loss`, the confusion matrix `counts` (K, K)
        by true and predicted class, and `precision` and `recall` (K,). Raises MlpcliError where the
        data set is missing or has other classes.
        """
        from mlpcli.runs import inference

        if split not in ("train", "val", "test"):
            raise ValueError(f"split: found {split!r}, expected 'train', 'val' or 'test'")
        return inference.evaluate_checkpoint(self._saved, split, _path(data_dir))


@dataclass(frozen=True)
class FinishedRun:
    """A run that was trained to its end: its folder, and what its summary.json holds."""

    folder: Path
    summary: dict[str, Any]

    def epochs(self) -> list[dict[str, float | None]]:
        """Return the rows of metrics.csv, one per epoch; None for val without such a split."""
        return runs.Run(self.folder).epochs()


def train(
    config: ConfigLike | None = None,
    *,
    resume: PathLike | None = None,
    extend: bool = False,
    runs_dir: PathLike = "runs",
    data_dir: PathLike | None = None,
    on_epoch: Callable[[EpochResult], object] | None = None,
) -> FinishedRun:
    """Train in a new folder of `runs_dir`, or `resume` a run there; return it once it is finished.

    `config` is a file, a run's folder, the name of a shipped configuration, a Config, or a mapping
    of dotted keys to values, over the configuration that its `base` names; when resuming it may be
    left out; a finished run is trained for more epochs, where that changes its schedule only if
    `extend`. Nothing is printed: `on_epoch` is called after each epoch, and what it raises ends the
    training. After that and after Ctrl-C, which raises KeyboardInterrupt, the run can be resumed;
    also after SIGTERM and its like, which then end the process.

    `threads: null` keeps the BLAS threads that the process has. Raises MlpcliError for an invalid
    configuration, missing data, a checkpoint that cannot be resumed, or a training that diverges.
    """
    folder = expanded(runs_dir)
    run = last = None
    if resume is not None:
        run, last = runs.run_and_checkpoint(runs.find(expanded(resume), folder))
        config = run.config_file if config is None else config
    settings = runs.with_data_dir(_config(config), _path(data_dir))

    with environment.set_threads(settings.threads):
        from mlpcli.runs import runner

        reporter = _Reporter(on_epoch)
        try:
            with stop_in_program() as stop:
                if run is None or last is None:
                    summary = runner.start(settings, folder, reporter, stop)
                else:
                    summary = runner.resume(
                        run, last, settings, reporter, stop, strict=False, extend=extend
                    )
        except InterruptedRunError as error:
            message = f"{error}; {error.hint}"
        else:
            message = f"after the last step: {summary['run_dir']} is complete"
    if (number := stop.asked()) is not None:
        if number != signal.SIGINT:
            signal.raise_signal(number)  # which ends the process, as it would have without us
        raise KeyboardInterrupt(message)
    return FinishedRun(Path(summary["run_dir"]), summary)


class _Reporter:
    """Passes the results of epochs on, and warnings to Python's own."""

    def __init__(self, on_epoch: Callable[[EpochResult], object] | None) -> None:
        self.on_epoch = on_epoch

    def status(self, text: str) -> None: ...

    def start(self, training: Training) -> None: ...

    def step(self, progress: Progress) -> None: ...

    def epoch(self, result: EpochResult) -> None:
        if self.on_epoch is not None:
            self.on_epoch(result)

    def warn(self, text: str) -> None:
        warnings.warn(text, RuntimeWarning, stacklevel=2)


class LabeledImages(NamedTuple):
    """Images, uint8 (N, 3072), red, green and blue planes, and the indices of their classes (N,).

    `images.reshape(-1, 3, 32, 32)` are the planes.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Data:
    """A data set, split as a configuration says; `label_names` are its classes."""

    train: LabeledImages
    val: LabeledImages
    test: LabeledImages
    label_names: tuple[str, ...]


def load_data(config: ConfigLike | None = None, *, data_dir: PathLike | None = None) -> Data:
    """Read the images that a configuration trains on, holds out, and tests on.

    `config` is what `train` takes; by default it is CIFAR-10 with 5000 training images held out.
    Raises MlpcliError where the data set is missing or corrupt.
    """
    from mlpcli.data import dataset

    settings = Config() if config is None else _config(config)
    data = runs.with_data_dir(settings, _path(data_dir)).data
    training, test = dataset.load_train_val(data), dataset.load_test(data)
    return Data(
        train=_labeled(training, "train"),
        val=_labeled(training, "val"),
        test=_labeled(test, "test"),
        label_names=training.label_names,
    )


def _labeled(data: Dataset, name: SplitName) -> LabeledImages:
    split = data.splits[name]
    return LabeledImages(split.images[split.rows], split.labels[split.rows])


def _path(path: PathLike | None) -> Path | None:
    return None if path is None else expanded(path)


def _config(config: object) -> Config:
    if isinstance(config, (str, os.PathLike)):
        return loading.load(Path(config))
    if isinstance(config, Config):  # which may have been made by `dataclasses.replace`
        return loading.from_dict(loading.to_dict(config), "config")
    if isinstance(config, Mapping):
        return loading.from_mapping(config, "config")
    raise TypeError(
        f"config: found {type(config).__name__}, expected a file, a run's folder, the name of a "
        f"shipped configuration, a mapping, or a Config"
    )


def _pixels(images: ArrayLike) -> NDArray[Any]:
    """Return images as uint8 or floats in [0, 1], (N, 3072); raises ValueError or TypeError."""
    import numpy as np

    array = np.asarray(images)
    if array.shape[1:] not in SHAPES:
        one = "; a single image is images[np.newaxis]" if array.shape in SHAPES else ""
        raise ValueError(
            f"images: found the shape {array.shape}, expected (N, 3072), (N, 3, 32, 32) or "
            f"(N, 32, 32, 3){one}"
        )
    if array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.floating):
        raise TypeError(f"images: found {array.dtype}, expected uint8, or floats in [0, 1]")
    if array.dtype != np.uint8 and array.size:
        low, high = array.min(), array.max()
        if not 0 <= low <= high <= 1:  # nor where one is NaN
            found = f"floats from {low:g} to {high:g}"
            raise ValueError(f"images: found {found}, expected floats in [0, 1], or uint8")
    if array.shape[1:] == (32, 32, 3):
        array = array.transpose(0, 3, 1, 2)
    return array.reshape(-1, 3072)
