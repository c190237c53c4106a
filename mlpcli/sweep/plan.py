"""A sweep's file: a base, what is varied of it, and the configurations of all trials that follow.

It is read as strictly as a configuration, and the configuration of every trial is built, and so
checked, before anything runs. Imports no NumPy.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlpcli.config import loading as configuration
from mlpcli.config.loading import Layer, belongs, chooser, text
from mlpcli.config.settings import KEYS, UNLEARNED, Bounds, Config, Key
from mlpcli.config.strict_yaml import Found, Reader
from mlpcli.errors import ConfigError

MAX_TRIALS = 10_000
TRIAL = "trial"  # the name of each trial's run
DIGITS = 4  # of a number that was drawn: a table of them can be read
TRIES = 100  # draws for each that is wanted, until all differ
DOTTED_KEYS = "keys as in optimizer.learning_rate"


# The keys of a sweep's file.
FILE_KEYS = {
    "base": Key(
        str, None, "the configuration that is varied, by its path from here", required=True
    ),
    "set": Key(dict, None, "changes to the base, as optimizer.momentum: 0.9"),
    "grid": Key(dict, None, "lists of values, of which every combination is tried"),
    "random.draws": Key(int, 1, "number of draws", Bounds(low=1, high=MAX_TRIALS), required=True),
    "random.seed": Key(int, 0, "of the draws", Bounds(low=0)),
    "random.keys": Key(
        dict,
        None,
        "what each is drawn from: a list, or {low: …, high: …, log: true}",
        required=True,
    ),
    "seeds": Key(
        int, (), "each combination is tried with each of them", Bounds(low=0), is_list=True
    ),
}
MAPPINGS = {"set", "grid", "random.keys"}  # these hold keys of the configuration
LOG = Key(bool, False, "whether numbers are drawn evenly by magnitude")


@dataclass(frozen=True)
class Trial:
    """A configuration, and the values in it of the keys that the sweep varies."""

    values: dict[str, Any]
    config: Config

    def __str__(self) -> str:
        return _joined(self.values | {"seed": self.config.seed})


@dataclass(frozen=True)
class Sweep:
    """A sweep's name, the keys that it varies apart from the seed, and its trials."""

    name: str
    keys: tuple[str, ...]
    trials: tuple[Trial, ...]


def load(path: Path, sets: Iterable[str] = ()) -> Sweep:
    """Read a sweep's file, change its base by `--set` texts, and plan the trials.

    Raises ConfigError for any key or value not understood, and for a trial whose keys disagree.

    The values of a trial are a layer above the base and what is set. Where the `name` of a section
    is varied, trials make different choices: an option that is varied or set is left out of the
    trials whose choice does not have it, and trials that are then the same are planned once.
    """
    contents = _read(path)
    varied = (*contents.grid, *contents.random)
    changes = contents.changes | configuration.read_sets(sets)
    for name, found in changes.items():
        if name in varied or (name == "seed" and contents.seeds):
            raise ConfigError(f"{found.origin}: {name}: is varied by the sweep, so it is not set")
        if name == "name":
            raise ConfigError(f"{found.origin}: name: trials are named by their sweep")
    of_choices = {key: changes.pop(key) for key in list(changes) if chooser(key) in varied}
    base = configuration.merge(*configuration.read_base(contents.base, path), changes)
    base["name"] = Found(TRIAL, str(path))
    seeds = [{"seed": seed} for seed in contents.seeds] or [{}]
    count = contents.draws.value * math.prod(map(len, contents.grid.values())) * len(seeds)
    if count > MAX_TRIALS:
        raise ConfigError(f"{path}: found {count:,} trials, expected at most {MAX_TRIALS:,}")
    given = [of_choices | values for values in contents.combinations()]
    layers = [_own_options(base, layer, varied) for layer in given]
    for key, found in given[0].items():
        if not any(key in layer for layer in layers):
            expected = f"{chooser(key)} {' or '.join(KEYS[key].choices)}"
            raise ConfigError(f"{found.origin}: {key}: belongs to {expected}, which no trial has")
    different = {tuple((key, layer[key].value) for key in layer): layer for layer in layers}
    trials = [_trial(base, layer, seed, varied) for layer in different.values() for seed in seeds]
    return Sweep(configuration.name_of(path), varied, tuple(trials))


def _own_options(base: Layer, layer: Layer, varied: tuple[str, ...]) -> Layer:
    """Leave out options that the trial's choice does not have, where the sweep varies choices."""
    return {
        key: found
        for key, found in layer.items()
        if chooser(key) not in varied or belongs(key, base | layer)
    }


def _trial(base: Layer, layer: Layer, seed: Layer, varied: tuple[str, ...]) -> Trial:
    values = {key: found.value for key, found in layer.items() if key in varied}
    try:
        found = configuration.merge(base, layer | seed)
        trial = Trial(values, configuration.build(found))
    except ConfigError as error:
        which = _joined(values | {name: found.value for name, found in seed.items()})
        raise ConfigError(f"{error} (in the trial {which})") from None
    if trial.config.data.val_size == 0:
        origin = found["data.val_size"].origin
        expected = "a validation split, by which trials are ranked"
        raise ConfigError(f"{origin}: data.val_size: found 0, expected {expected}")
    return trial


def _joined(values: dict[str, Any]) -> str:
    return " ".join(f"{name}={text(value)}" for name, value in values.items())


@dataclass(frozen=True)
class _Range:
    """Numbers between two ends, drawn evenly or, if `log`, evenly by magnitude."""

    low: float
    high: float
    log: bool
    where: str

    def draw(self, rng: random.Random) -> Found:
        whole = isinstance(self.low, int)
        # A whole number stands for all up to the next, so that the last has its share.
        low, high, share = self.low, self.high + 1 if whole else self.high, rng.random()
        if self.log:
            number = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        else:
            number = low + share * (high - low)
        number = math.floor(number) if whole else float(f"{number:.{DIGITS}g}")
        return Found(min(max(number, self.low), self.high), self.where)


@dataclass(frozen=True)
class _Choice:
    """Some values, each as likely."""

    values: list[Found]

    def draw(self, rng: random.Random) -> Found:
        return self.values[int(rng.random() * len(self.values))]


@dataclass(frozen=True)
class _Contents:
    """What a sweep's file holds, each value of its key's type and within its key's bounds."""

    base: Found
    changes: Layer
    grid: dict[str, list[Found]]
    random: dict[str, _Range | _Choice]
    draws: Found
    draw_seed: int
    seeds: list[Found]

    def combinations(self) -> list[Layer]:
        """Return the values of the varied keys: each draw with every combination of the grid."""
        grid = [
            dict(zip(self.grid, values, strict=True))
            for values in itertools.product(*self.grid.values())
        ]
        return [chosen | drawn for drawn in self._drawn() for chosen in grid]

    def _drawn(self) -> list[Layer]:
        rng, draws = random.Random(self.draw_seed), self.draws.value
        drawn: dict[tuple[Any, ...], Layer] = {}
        for _ in range(TRIES * draws):
            values = {name: options.draw(rng) for name, options in self.random.items()}
            drawn.setdefault(tuple(found.value for found in values.values()), values)
            if len(drawn) == draws:
                return list(drawn.values())
        raise ConfigError(
            f"{self.draws.origin}: random.draws: found {draws}, "
            f"expected at most {len(drawn)}: no more were found that differ"
        )


def _read(path: Path) -> _Contents:
    """Read a sweep's file; raises ConfigError for any key or value not understood."""
    own, reader = Reader(str(path), FILE_KEYS), Reader(str(path), KEYS)
    nodes = dict(own.section("", own.document(configuration.read_source(path))))
    given = {name: own.value(name, nodes[name]) for name in nodes if name not in MAPPINGS}
    changes: Layer = {}
    if "set" in nodes:
        for key, where, node in reader.entries(nodes["set"], "set", DOTTED_KEYS):
            for name, found in reader.values(key, where, node).items():
                if name in changes:
                    first = changes[name].origin
                    raise ConfigError(f"{where}: {name}: set twice, first in {first}")
                changes[name] = found
    grid, drawn = {}, {}
    if "grid" in nodes:
        for key, where, node in reader.entries(nodes["grid"], "grid", DOTTED_KEYS):
            _require_variable(reader, key, where)
            grid[key] = _values(reader, key, node)
    if "random.keys" in nodes:
        for key, where, node in reader.entries(nodes["random.keys"], "random.keys", DOTTED_KEYS):
            _require_variable(reader, key, where)
            if key in grid:
                raise ConfigError(f"{where}: {key}: found in grid and in random, expected in one")
            drawn[key] = _options(reader, key, where, node)
    seeds = given.get("seeds", Found((), ""))
    if "seeds" in given and len(set(seeds.value)) < max(1, len(seeds.value)):
        expected = "whole numbers, none of them twice"
        own.refuse(nodes["seeds"], "seeds", text(seeds.value), expected)
    if not (grid or drawn or seeds.value):
        raise ConfigError(f"{path}: nothing is varied; expected some of grid, random, seeds")
    return _Contents(
        given["base"],
        changes,
        grid,
        drawn,
        given.get("random.draws", Found(1, "")),
        given.get("random.seed", Found(0, "")).value,
        [Found(seed, seeds.origin) for seed in seeds.value],
    )


def _require_variable(reader: Reader, key: str, where: str) -> None:
    """Raise ConfigError for what is no key, or none that a sweep can vary."""
    if inner := reader.names(key):
        keys = ", ".join(f"{key}.{name}" for name in inner)
        raise ConfigError(f"{where}: {key}: found a section, expected one of {keys}")
    if key not in KEYS:
        reader.unknown(key, where)
    if key in UNLEARNED:
        raise ConfigError(f"{where}: {key}: changes nothing that is learned: not to vary")
    if key == "seed":
        raise ConfigError(f"{where}: seed: found as a key to vary, expected under seeds:")


def _values(reader: Reader, key: str, node: Any) -> list[Found]:
    """Return the values of a list, none of them twice."""
    found: list[Found] = []
    for item in reader.items(node, key):
        value = reader.value(key, item)
        if any(value.value == other.value for other in found):
            reader.refuse(item, key, f"{text(value.value)} twice", "each value once")
        found.append(value)
    return found


def _options(reader: Reader, key: str, where: str, node: Any) -> _Range | _Choice:
    """Return what a key is drawn from: a list of values, or a range."""
    if not reader.is_mapping(node):
        return _Choice(_values(reader, key, node))
    keys = {f"{key}.low": KEYS[key], f"{key}.high": KEYS[key], f"{key}.log": LOG}
    found = dict(Reader(reader.source, keys).values(key, where, node))
    log = found.pop(f"{key}.log", Found(False, "")).value
    ends = {name.removeprefix(f"{key}."): end.value for name, end in found.items()}
    if [type(end) for end in ends.values()] not in ([int, int], [float, float]):
        raise ConfigError(f"{where}: {key}: expected a list, or two numbers low and high")
    low, high = ends["low"], ends["high"]
    if not low < high:
        raise ConfigError(f"{where}: {key}: found {low} to {high}, expected low below high")
    if log and low <= 0:
        raise ConfigError(f"{where}: {key}.low: found {low}, expected above 0 for log: true")
    return _Range(low, high, log, where)
