"""Configuration: what one experiment is, as frozen dataclasses read from YAML and `--set`.

This module imports no NumPy, so that the thread count of a configuration can be put in force
before NumPy loads.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import operator
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_type_hints

import yaml

from mlpcli.config import strict_yaml
from mlpcli.config.strict_yaml import Found
from mlpcli.errors import ConfigError, printable

# A checkpoint holds the weights, and to go on up to three more arrays of that size: what is read of
# one is bounded by this, so what is trained has to be as well.
MAX_WEIGHTS, MAX_LAYERS = 2**24, 100
MAX_NAME = 60

# Origins of values that no file and no `--set` gives.
DEFAULT, OWN_NAME = "default", "the file's own name"

COMMENTS_AT = 40  # the last column where the origins of a commented file begin


def key(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    below: float | None = None,
) -> Any:
    """A configuration key: its default, what it means, and the bounds of its value(s)."""
    bounds = {"at least": low, "above": above, "at most": high, "below": below}
    return field(default=default, metadata={"doc": doc, "bounds": bounds})


@dataclass(frozen=True)
class DataConfig:
    """What the network learns from."""

    name: Literal["cifar10", "synthetic"] = key(
        "cifar10", "batch files, or shapes made on the spot"
    )
    dir: str | None = key(None, "data directory; null: $MLPCLI_DATA_DIR, or the user's cache")
    val_size: int = key(5000, "training images set aside for validation, by class", low=0)
    val_seed: int = key(0, "which images are set aside", low=0)


@dataclass(frozen=True)
class FeaturesConfig:
    """The affine map from pixels to what the first layer sees; it folds into that layer."""

    name: Literal["none", "channel", "pixel", "pca"] = key(
        "channel", "standardize per channel or pixel, or whitened principal components"
    )
    components: int = key(256, "pca: how many", low=1, high=3072)
    softening: float = key(
        3e-4,
        "pca: added to each variance before it is whitened, as a share of the largest",
        above=0,
    )


@dataclass(frozen=True)
class AugmentConfig:
    """How training images are varied; what moves them needs features.name pca."""

    flips: bool = key(False, "mirror each training image left to right with probability ½")
    shift: float = key(0.0, "move each one up to so many pixels along each axis", low=0, high=16)
    rotation: float = key(0.0, "turn each one up to so many degrees", low=0, high=180)
    zoom: float = key(0.0, "stretch each axis by up to this share of it", low=0, high=1)
    input_dropout: float = key(
        0.0, "leave out each input of the first layer with this probability", low=0, below=1
    )

    @property
    def warps(self) -> bool:
        """Whether images are moved at all."""
        return bool(self.shift or self.rotation or self.zoom)


@dataclass(frozen=True)
class ModelConfig:
    """The fully connected network between 3072 inputs and the classes."""

    hidden: tuple[int, ...] = key(
        (512,), "hidden layer sizes; []: logistic regression", low=1, high=10**6
    )
    activation: Literal["sigmoid", "tanh", "relu", "gelu"] = key(
        "sigmoid", "after each hidden layer"
    )
    initializer: Literal["glorot", "he", "lecun"] = key("glorot", "of the weights; biases are 0")


@dataclass(frozen=True)
class OptimizerConfig:
    """How a gradient moves the parameters."""

    name: Literal["sgd", "adamw"] = key("sgd", "the update rule")
    learning_rate: float = key(0.1, "step size, before the schedule", above=0)
    weight_decay: float = key(0.0, "decoupled shrinking of the weights", low=0)
    momentum: float = key(0.0, "sgd: share of the velocity that is kept", low=0, below=1)
    nesterov: bool = key(False, "sgd: look ahead along the velocity")
    beta1: float = key(0.9, "adamw: decay of the first moment", low=0, below=1)
    beta2: float = key(0.999, "adamw: decay of the second moment", low=0, below=1)
    epsilon: float = key(1e-8, "adamw: added to the root of the second moment", above=0)


@dataclass(frozen=True)
class ScheduleConfig:
    """How the learning rate changes."""

    name: Literal["constant", "cosine", "step"] = key("constant", "the shape")
    warmup_epochs: float = key(0.0, "a rising line before it", low=0)
    step_every: float = key(10.0, "step: epochs between two drops", low=0.01)
    step_factor: float = key(0.1, "step: the factor of a drop", above=0, high=1)


@dataclass(frozen=True)
class TrainingConfig:
    """The loop."""

    batch_size: int = key(128, "examples a step; a short last batch is used", low=1, high=10**6)
    epochs: int = key(20, "passes over the training images", low=1)
    patience: int | None = key(
        None, "stop after so many epochs without a better validation accuracy; null: never", low=1
    )
    dtype: Literal["float32", "float64"] = key("float32", "of parameters and arithmetic")
    checkpoint_seconds: float = key(
        10.0, "how often the state is saved: what a crash may cost", low=0
    )
    checkpoint_steps: int | None = key(
        None, "save it after each so many steps as well; null: only by the clock", low=1
    )


@dataclass(frozen=True)
class Config:
    """One experiment."""

    name: str = key("", "of the run's folder; by default the file's own")
    seed: int = key(0, "of initial weights, order of images and their variations", low=0)
    threads: int | None = key(None, "for matrix products; null: every usable core", low=1)
    data: DataConfig = DataConfig()
    features: FeaturesConfig = FeaturesConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    loss: Literal["sigmoid_cross_entropy", "squared_error", "softmax_cross_entropy"] = key(
        "sigmoid_cross_entropy", "summed over classes, averaged over the batch"
    )
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    training: TrainingConfig = TrainingConfig()


# Keys that change nothing of what is learned, but for the last bits: the run's name, the threads,
# where the same files lie, how often the state is saved.
UNLEARNED = {
    "name",
    "threads",
    "data.dir",
    "training.checkpoint_seconds",
    "training.checkpoint_steps",
}


def find(path: Path | str, sets: Iterable[str] = ()) -> dict[str, Found]:
    """Return what a configuration file, the files that its `base:` names and `--set` texts say.

    Raises ConfigError for a file that cannot be read and for any key or value not understood.
    """
    path = Path(path)
    found = strict_yaml.read_file(Config, path)
    for text in sets:
        found |= strict_yaml.read_set(Config, text)
    if "name" not in found or not found["name"].value:
        found["name"] = Found(name_of(path), OWN_NAME)
    return found


def load(path: Path | str, sets: Iterable[str] = ()) -> Config:
    """Make a Config of what `find` returns; raises ConfigError, also where two keys disagree."""
    return build(find(path, sets))


def resolve(path: Path | str, sets: Iterable[str] = ()) -> dict[str, Found]:
    """Return the value of every key and where it came from; raises ConfigError as `load` does."""
    found = find(path, sets)
    config = build(found)
    return {
        key: found.get(key) or Found(operator.attrgetter(key)(config), DEFAULT)
        for key in strict_yaml.dotted_keys(Config)
    }


def name_of(path: Path) -> str:
    """Return the name that a file gives to its run: its own, without what a name cannot have."""
    return re.sub(r"[^\w.-]+|^[.-]+", "-", path.stem).strip("-")[:MAX_NAME] or "run"


def build(found: dict[str, Found]) -> Config:
    """Make a Config from values by dotted key; raises ConfigError where two keys disagree."""

    def make(cls: type, prefix: str) -> Any:
        values = {}
        for name, hint in get_type_hints(cls).items():
            if dataclasses.is_dataclass(hint):
                values[name] = make(hint, f"{prefix}{name}.")  # type: ignore[arg-type]
            elif prefix + name in found:
                values[name] = found[prefix + name].value
        return cls(**values)

    config: Config = make(Config, "")

    def refuse(name: str, problem: str) -> None:
        origin = found[name].origin if name in found else DEFAULT
        raise ConfigError(f"{origin}: {name}: {problem}")

    if not re.fullmatch(r"\w[\w.-]{0,59}", config.name):
        expected = "up to 60 letters, digits, and . _ - between them"
        refuse("name", f"found '{strict_yaml.shortened(config.name)}', expected {expected}")
    layers = len(config.model.hidden)
    if layers > MAX_LAYERS:
        refuse("model.hidden", f"found {layers:,} layers, expected at most {MAX_LAYERS}")
    sizes = (3072, *config.model.hidden, 10)
    weights = sum(D * H for D, H in itertools.pairwise(sizes))
    if weights > MAX_WEIGHTS:
        refuse("model.hidden", f"found {weights:,} weights, expected at most {MAX_WEIGHTS:,}")
    if config.data.val_size == 0 and config.training.patience is not None:
        refuse("training.patience", "needs a validation split, but data.val_size is 0")
    if config.schedule.warmup_epochs >= config.training.epochs:
        refuse("schedule.warmup_epochs", f"expected fewer than the {config.training.epochs} epochs")
    if config.augment.warps and config.features.name != "pca":
        moving = next(key for key in ("shift", "rotation", "zoom") if getattr(config.augment, key))
        refuse(f"augment.{moving}", f"needs features.name pca, found {config.features.name}")
    if config.optimizer.nesterov and not config.optimizer.momentum:
        refuse("optimizer.nesterov", "needs optimizer.momentum above 0")
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """Return nested plain values, as JSON and YAML hold them."""
    plain: dict[str, Any] = dataclasses.asdict(config)
    plain["model"]["hidden"] = list(config.model.hidden)
    return plain


def to_yaml(config: Config) -> str:
    """Return the resolved configuration as a file that `load` reads back to the same."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)


def to_commented_yaml(values: dict[str, Found]) -> str:
    """Return what `resolve` did as a file that `load` reads back, with origins as comments."""
    lines: list[tuple[str, str]] = []
    section = ""
    for key, found in values.items():
        parent, _, name = key.rpartition(".")
        if parent and parent != section:
            lines.append((f"{parent}:", ""))
        section = parent
        indent = "  " if parent else ""
        lines.append((f"{indent}{name}: {_in_one_line(found.value)}", printable(found.origin)))
    column = max(len(line) for line, _ in lines if len(line) < COMMENTS_AT)
    return "".join(
        f"{line:{column}}  # {origin}\n" if origin else f"{line}\n" for line, origin in lines
    )


def _in_one_line(value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    options: dict[str, Any] = {"default_flow_style": True, "allow_unicode": True, "width": math.inf}
    text = yaml.safe_dump(plain, **options).removesuffix("\n...\n").removesuffix("\n")
    if "\n" in text:
        text = yaml.safe_dump(plain, default_style='"', **options).removesuffix("\n")
    return text


def from_dict(plain: Any, origin: str) -> Config:
    """Read what `to_dict` returned, as strictly as a file; `origin` names it in errors."""
    text = yaml.safe_dump(plain, sort_keys=False)
    return build(strict_yaml.read_text(Config, text, origin, numbered=False))


def learned(config: Config) -> tuple[Any, ...]:
    """Return the values of all keys but `UNLEARNED`: two runs with the same learn the same."""
    keys = (key for key in strict_yaml.dotted_keys(Config) if key not in UNLEARNED)
    return tuple(operator.attrgetter(key)(config) for key in keys)


def differences(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    """Return the keys whose values differ, each with its old and its new value."""
    pairs = {
        key: (operator.attrgetter(key)(old), operator.attrgetter(key)(new))
        for key in strict_yaml.dotted_keys(Config)
    }
    return {key: (was, now) for key, (was, now) in pairs.items() if was != now}


def text(value: Any) -> str:
    """Return a value as `--set` reads it."""
    if isinstance(value, float):
        return f"{value:.12g}"
    return value if isinstance(value, str) else json.dumps(value)


def short_names(keys: Sequence[str]) -> list[str]:
    """Return keys without their sections, where what is left says enough."""
    last = [key.rpartition(".")[2] for key in keys]
    return [
        key if name == "name" or last.count(name) > 1 else name
        for key, name in zip(keys, last, strict=True)
    ]
