"""What one experiment is: frozen dataclasses, the bounds of their values, and a table of all keys.

A section whose `name` chooses, as `optimizer`, is a union: each choice is a dataclass that has the
options of this choice and no others.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

# A checkpoint holds the weights, and to resume up to three more arrays of that size: what is read
# from one is bounded by this, so what is trained has to be as well.
MAX_WEIGHTS, MAX_LAYERS = 2**24, 100
MAX_NAME = 60
# What people type for the last part of a key, only to be told the key.
ABBREVIATIONS = {"lr": "learning_rate", "wd": "weight_decay", "bs": "batch_size"}
MAX_TEXT = 4096  # characters of a string: a path can have no more

# Keys that do not change what is learned, except for its last bits: the run's name, the threads,
# where the same files lie, how often the state is saved.
UNLEARNED = {
    "name",
    "threads",
    "data.dir",
    "training.checkpoint_seconds",
    "training.checkpoint_steps",
}


@dataclass(frozen=True)
class Bounds:
    """The numbers that a key accepts: low ≤ x ≤ high, above < x < below."""

    low: float | None = None
    above: float | None = None
    high: float | None = None
    below: float | None = None

    def hold(self, number: float) -> bool:
        """Whether a number lies within the bounds."""
        return all(holds(number, limit) for _, _, holds, limit in self._given())

    def __str__(self) -> str:
        return " and ".join(f"{words} {limit}" for words, _, _, limit in self._given())

    def schema(self) -> dict[str, float]:
        """Return the bounds as keywords of JSON Schema."""
        return {keyword: limit for _, keyword, _, limit in self._given()}

    def _given(self) -> Iterator[tuple[str, str, Callable[[float, float], bool], float]]:
        for words, keyword, holds, limit in (
            ("at least", "minimum", operator.ge, self.low),
            ("above", "exclusiveMinimum", operator.gt, self.above),
            ("at most", "maximum", operator.le, self.high),
            ("below", "exclusiveMaximum", operator.lt, self.below),
        ):
            if limit is not None:
                yield words, keyword, holds, limit


def key(default: Any, doc: str, **bounds: float) -> Any:
    """A field of a configuration: its default, what it means, and the bounds of its value(s)."""
    return field(default=default, metadata={"doc": doc, "bounds": Bounds(**bounds)})


@dataclass(frozen=True)
class _Data:
    name: str
    val_size: int = key(5000, "training images held out for validation, stratified by class", low=0)
    val_seed: int = key(0, "of the choice of the images held out", low=0)


@dataclass(frozen=True)
class Cifar10Config(_Data):
    """CIFAR-10 from its batch files."""

    name: Literal["cifar10"] = "cifar10"
    dir: str | None = key(None, "data directory; null: $MLPCLI_DATA_DIR, or the user's cache")


@dataclass(frozen=True)
class SyntheticConfig(_Data):
    """Images of geometric shapes, generated in memory."""

    name: Literal["synthetic"] = "synthetic"


@dataclass(frozen=True)
class PixelsConfig:
    """Pixels as they are, or standardized per channel or per pixel."""

    name: Literal["none", "channel", "pixel"] = "channel"


@dataclass(frozen=True)
class PCAConfig:
    """Whitened principal components."""

    name: Literal["pca"] = "pca"
    components: int = key(256, "number of components", low=1, high=3072)
    epsilon: float = key(
        3e-4, "added to each variance before whitening, as a share of the largest", above=0
    )


@dataclass(frozen=True)
class AugmentConfig:
    """Random variation of training images; `shift`, `rotation` and `zoom` need PCA features."""

    flips: bool = key(False, "flip each training image left to right with probability ½")
    shift: float = key(
        0.0, "translate each by up to this many pixels along each axis", low=0, high=16
    )
    rotation: float = key(0.0, "rotate each by up to this many degrees", low=0, high=180)
    zoom: float = key(0.0, "scale each axis by up to this share", low=0, high=1)
    input_dropout: float = key(
        0.0, "drop each input of the first layer with this probability", low=0, below=1
    )

    @property
    def is_affine(self) -> bool:
        """Whether images are translated, rotated or scaled."""
        return bool(self.shift or self.rotation or self.zoom)


@dataclass(frozen=True)
class ModelConfig:
    """The fully connected network between 3072 inputs and the classes."""

    hidden: tuple[int, ...] = key(
        (512,), "sizes of the hidden layers; []: logistic regression", low=1, high=10**6
    )
    activation: Literal["sigmoid", "tanh", "relu", "gelu"] = key("sigmoid", "of the hidden layers")
    initializer: Literal["glorot", "he", "lecun"] = key(
        "glorot", "of the weights; biases start at 0"
    )

    def layer_sizes(self, inputs: int, classes: int) -> tuple[int, ...]:
        """Return the number of inputs, the sizes of the hidden layers, the number of classes."""
        return (inputs, *self.hidden, classes)


@dataclass(frozen=True)
class _Choice:
    name: str

    def options(self) -> dict[str, Any]:
        """Return the options of this choice: what the constructor of what it names takes.

        The learning rate is not among them, as it changes from step to step.
        """
        own = dataclasses.asdict(self)
        return {key: own[key] for key in own if key not in ("name", "learning_rate")}


@dataclass(frozen=True)
class _Optimizer(_Choice):
    learning_rate: float = key(0.1, "step size, before the schedule's factor", above=0)
    weight_decay: float = key(0.0, "decoupled decay of the weights, not the biases", low=0)


@dataclass(frozen=True)
class SGDConfig(_Optimizer):
    """Stochastic gradient descent."""

    name: Literal["sgd"] = "sgd"
    momentum: float = key(0.0, "share of the velocity kept at each step", low=0, below=1)
    nesterov: bool = key(False, "Nesterov momentum")


@dataclass(frozen=True)
class AdamWConfig(_Optimizer):
    """Adam with decoupled weight decay."""

    name: Literal["adamw"] = "adamw"
    beta1: float = key(0.9, "decay rate of the first moment", low=0, below=1)
    beta2: float = key(0.999, "decay rate of the second moment", low=0, below=1)
    epsilon: float = key(1e-8, "added to the square root of the second moment", above=0)


@dataclass(frozen=True)
class _Schedule(_Choice):
    warmup_epochs: float = key(0.0, "epochs of linear warm-up from 0", low=0)


@dataclass(frozen=True)
class ConstantConfig(_Schedule):
    """No change after the warm-up."""

    name: Literal["constant"] = "constant"


@dataclass(frozen=True)
class CosineConfig(_Schedule):
    """Half a cosine down to 0."""

    name: Literal["cosine"] = "cosine"


@dataclass(frozen=True)
class StepConfig(_Schedule):
    """A drop every few epochs."""

    name: Literal["step"] = "step"
    step_every: float = key(10.0, "epochs between two drops", low=0.01)
    step_factor: float = key(0.1, "factor of each drop", above=0, high=1)


@dataclass(frozen=True)
class TrainingConfig:
    """The training loop."""

    batch_size: int = key(
        128, "images per step; a smaller last batch is used too", low=1, high=10**6
    )
    epochs: int = key(20, "passes over the training images", low=1)
    patience: int | None = key(
        None, "stop after this many epochs without a better validation accuracy; null: never", low=1
    )
    dtype: Literal["float32", "float64"] = key("float32", "of parameters and arithmetic")
    checkpoint_seconds: float = key(
        10.0, "seconds between two checkpoints: at most this much is lost in a crash", low=0
    )
    checkpoint_steps: int | None = key(
        None, "save every N steps as well; null: by time alone", low=1
    )


DataConfig = Cifar10Config | SyntheticConfig
FeaturesConfig = PixelsConfig | PCAConfig
OptimizerConfig = SGDConfig | AdamWConfig
ScheduleConfig = ConstantConfig | CosineConfig | StepConfig


@dataclass(frozen=True)
class Config:
    """One experiment."""

    name: str = key("", "of the run's folder; by default the file's own")
    seed: int = key(
        0, "of the initial weights, the order of the images and their augmentation", low=0
    )
    threads: int | None = key(
        None, "for matrix products; null: $OMP_NUM_THREADS, or all usable cores", low=1
    )
    data: DataConfig = key(Cifar10Config(), "CIFAR-10 from its files, or generated shapes")
    features: FeaturesConfig = key(
        PixelsConfig(),
        "inputs of the first layer: pixels as they are, standardized per channel or per pixel, "
        "or whitened principal components",
    )
    augment: AugmentConfig = key(AugmentConfig(), "random variation of training images")
    model: ModelConfig = key(ModelConfig(), "the fully connected network")
    loss: Literal["sigmoid_cross_entropy", "squared_error", "softmax_cross_entropy"] = key(
        "sigmoid_cross_entropy", "summed over classes, averaged over the batch"
    )
    optimizer: OptimizerConfig = key(SGDConfig(), "the update rule")
    schedule: ScheduleConfig = key(ConstantConfig(), "how the learning rate changes")
    training: TrainingConfig = key(TrainingConfig(), "the training loop")


@dataclass(frozen=True)
class Key:
    """A key of a file: the type and bounds of its value, its default, and what it means."""

    kind: type
    default: Any
    doc: str
    bounds: Bounds = Bounds()
    names: tuple[str, ...] = ()  # of which the value is one
    is_list: bool = False
    or_null: bool = False
    choices: tuple[str, ...] = ()  # the names in its section that it is an option of; (): all
    required: bool = False

    @property
    def description(self) -> str:
        """What it means, after the choices that it belongs to."""
        return f"{', '.join(self.choices)}: {self.doc}" if self.choices else self.doc

    @property
    def expected(self) -> str:
        """What an error says is expected."""
        if self.names:
            return "one of " + ", ".join(self.names)
        if self.is_list:
            return "a list of whole numbers, as in [512, 256]"
        return _WORDS[self.kind] + (" or null" if self.or_null else "")


_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "a string",
    dict: "keys as in optimizer.learning_rate",
}


def _key(owner: type, item: dataclasses.Field[Any]) -> Key:
    hint = get_type_hints(owner)[item.name]
    origin, args = get_origin(hint), get_args(hint)
    return Key(
        kind=str if origin is Literal else (*args, hint)[0],
        default=item.default,
        **item.metadata,
        names=args if origin is Literal else (),
        is_list=origin is tuple,
        or_null=origin is UnionType,  # X | None
    )


def _arms(hint: Any) -> dict[str, type]:
    arms: list[Any] = [arm for arm in get_args(hint) or (hint,) if dataclasses.is_dataclass(arm)]
    names = {arm: get_args(get_type_hints(arm).get("name")) or ("",) for arm in arms}
    return {name: arm for arm in arms for name in names[arm]}


def _keys() -> Iterator[tuple[str, Key]]:
    for item in dataclasses.fields(Config):
        arms = SECTIONS.get(item.name)
        if arms is None:
            yield item.name, _key(Config, item)
            continue
        if "" not in arms:
            doc, default = item.metadata["doc"], item.default.name
            yield f"{item.name}.name", Key(str, default, doc, names=tuple(arms))
        options = {
            option.name: _key(arm, option)
            for arm in arms.values()
            for option in dataclasses.fields(arm)
            if option.name != "name"
        }
        for name, own in options.items():
            choices = tuple(choice for choice, arm in arms.items() if hasattr(arm, name))
            choices = () if choices == tuple(arms) else choices
            yield f"{item.name}.{name}", dataclasses.replace(own, choices=choices)


# The dataclasses of each section, by the `name` that chooses one, or by "" where there is one only.
SECTIONS = {name: arms for name, hint in get_type_hints(Config).items() if (arms := _arms(hint))}
# Every key of a configuration, by its dotted name: `seed`, `data.name`, …
KEYS = dict(_keys())
# Those of a file, which may refine another.
FILE_KEYS = KEYS | {
    "base": Key(
        str,
        None,
        "the file that this one refines, by its path from here, or a shipped configuration",
    )
}
