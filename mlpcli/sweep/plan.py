"""A sweep's file: a base, what is varied of it, and the configurations of all trials that follow.

It is read as strictly as a configuration, and the configuration of every trial is built, and so
checked, before anything runs. Imports no NumPy.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlpcli.config import loading as configuration
from mlpcli.config import shipped
from mlpcli.config.loading import Layer, belongs, chooser, text
from mlpcli.config.settings import KEYS, UNLEARNED, Bounds, Config, Key
from mlpcli.config.strict_yaml import Found, Reader
from mlpcli.errors import ConfigError

MAX_TRIALS = 10_000
TRIAL = "trial"  # the name of each trial's run
DIGITS = 4  # significant digits of a number that was drawn, for readable tables
TRIES = 100  # draws for each that is wanted, until all differ

# The keys of a sweep's file. Those of the type dict hold keys of the configuration.
FILE_KEYS = {
    "base": Key(
        str,
        None,
        "the file that is varied, by its path from here, or a shipped configuration",
        required=True,
    ),
    "set": Key(dict, {}, "changes to the base, as optimizer.momentum: 0.9"),
    "grid": Key(dict, {}, "lists of values, of which every combination is tried"),
    "random.draws": Key(int, 1, "number of draws", Bounds(low=1, high=MAX_TRIALS), required=True),
    "random.seed": Key(int, 0, "of the draws", Bounds(low=0)),
    "random.keys": Key(
        dict, {}, "what each is drawn from: a list, or {low: …, high: …, log: true}", required=True
    ),
    "seeds": Key(
        int, (), "each combination is tried with each of them", Bounds(low=0), is_list=True
    ),
}
LOG = Key(bool, False, "whether numbers are drawn evenly by magnitude")

Nodes = dict[str, tuple[str, Any]]  # the place and the node of each key's value
Draw = Callable[[float], Found]  # from a number in [0, 1) to the value of a key


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

    `path` is what `locate` takes. Raises ConfigError for any key or value not understood, and for a
    trial whose keys disagree.

    The values of a trial are a layer above the base and what is set. Where the `name` of a section
    is varied, trials make different choices: an option that is varied or set is left out of the
    trials whose choice does not have it, and trials that are then the same are planned once.
    """
    path = configuration.locate(path)
    shown = shipped.shown(path)
    defaults = {key: Found(own.default, "") for key, own in FILE_KEYS.items()}
    file = defaults | Reader(shown, FILE_KEYS).read(configuration.read_source(path))
    seeds = [{"seed": Found(seed, file["seeds"].origin)} for seed in _seeds(file["seeds"])] or [{}]
    reader = Reader(shown, KEYS)
    changes = configuration.placed(_changes(reader, file["set"].value), path)
    changes |= configuration.read_sets(sets)
    grid, drawn = _varied(reader, file["grid"].value, file["random.keys"].value)
    varied = (*grid, *drawn)
    if not varied and seeds == [{}]:
        raise ConfigError(f"{shown}: nothing is varied; expected some of grid, random, seeds")
    for name, found in changes.items():
        if name in varied or name in seeds[0]:
            raise ConfigError(f"{found.origin}: {name}: is varied by the sweep, so it is not set")
        if name == "name":
            raise ConfigError(f"{found.origin}: name: trials are named by their sweep")
    of_choices = {key: changes.pop(key) for key in list(changes) if chooser(key) in varied}
    base = configuration.merge(*configuration.read_base(file["base"], path), changes)
    base["name"] = Found(TRIAL, shown)
    count = file["random.draws"].value * math.prod(map(len, grid.values())) * len(seeds)
    if count > MAX_TRIALS:
        raise ConfigError(f"{shown}: found {count:,} trials, expected at most {MAX_TRIALS:,}")
    combinations = [
        of_choices | dict(zip(grid, values, strict=True)) | draw
        for draw in _draws(drawn, file["random.draws"], file["random.seed"].value)
        for values in itertools.product(*grid.values())
    ]
    layers = [_own_options(base, layer, varied) for layer in combinations]
    for key, found in combinations[0].items():
        if not any(key in layer for layer in layers):
            expected = f"{chooser(key)} {' or '.join(KEYS[key].choices)}"
            raise ConfigError(f"{found.origin}: {key}: belongs to {expected}, which no trial has")
    different = {tuple((key, layer[key].value) for key in layer): layer for layer in layers}
    trials = [_trial(base, layer, seed, varied) for layer in different.values() for seed in seeds]
    return Sweep(configuration.name_of(path), varied, tuple(trials))


def _seeds(found: Found) -> tuple[int, ...]:
    seeds: tuple[int, ...] = found.value
    if found.origin and len(set(seeds)) < max(1, len(seeds)):
        expected = "whole numbers, none of them twice"
        raise ConfigError(f"{found.origin}: seeds: found {text(seeds)}, expected {expected}")
    return seeds


def _changes(reader: Reader, nodes: Nodes) -> Layer:
    """Return the values under `set:`, of keys as `optimizer.momentum` and of sections."""
    changes: Layer = {}
    for key, (where, node) in nodes.items():
        for name, found in reader.values(key, where, node).items():
            if name in changes:
                first = changes[name].origin
                raise ConfigError(f"{where}: {name}: set twice, first in {first}")
            changes[name] = found
    return changes


def _varied(
    reader: Reader, grid: Nodes, drawn: Nodes
) -> tuple[dict[str, list[Found]], dict[str, Draw]]:
    """Return the values of each key of the grid, and what each key of `random:` is drawn from."""
    for key, (where, _) in (*drawn.items(), *grid.items()):
        if inner := reader.names(key):
            keys = ", ".join(inner)
            raise ConfigError(f"{where}: {key}: found a section, expected one of {keys}")
        if key not in KEYS:
            reader.unknown(key, where)
        if key in UNLEARNED:
            raise ConfigError(f"{where}: {key}: changes nothing that is learned: not to vary")
        if key == "seed":
            raise ConfigError(f"{where}: seed: found as a key to vary, expected under seeds:")
        if key in grid and key in drawn:
            raise ConfigError(f"{where}: {key}: found in grid and in random, expected in one")
    return (
        {key: _values(reader, key, node) for key, (_, node) in grid.items()},
        {key: _draw(reader, key, where, node) for key, (where, node) in drawn.items()},
    )


def _values(reader: Reader, key: str, node: Any) -> list[Found]:
    """Return the values of a list, none of them twice."""
    different: dict[Any, Found] = {}
    for found in reader.items(key, node):
        if found.value in different:
            problem = f"found {text(found.value)} twice, expected each value once"
            raise ConfigError(f"{found.origin}: {key}: {problem}")
        different[found.value] = found
    return list(different.values())


def _draw(reader: Reader, key: str, where: str, node: Any) -> Draw:
    """Return how a key is drawn: from a list, each value as likely, or from a range."""
    if node.id != "mapping":
        values = _values(reader, key, node)
        return lambda share: values[int(share * len(values))]
    keys = {f"{key}.low": KEYS[key], f"{key}.high": KEYS[key], f"{key}.log": LOG}
    found = Reader(reader.source, keys).values(key, where, node)
    low, high, log = (found.get(name, Found(None, "")).value for name in keys)
    if [type(low), type(high)] not in ([int, int], [float, float]):
        raise ConfigError(f"{where}: {key}: expected a list, or two numbers low and high")
    if not low < high:
        raise ConfigError(f"{where}: {key}: found {low} to {high}, expected low below high")
    if log and low <= 0:
        raise ConfigError(f"{where}: {key}.low: found {low}, expected above 0 for log: true")
    return lambda share: Found(_between(low, high, share, log=bool(log)), where)


def _between(low: float, high: float, share: float, *, log: bool) -> float:
    """Return the number at a share of the way from `low` to `high`, if `log` by magnitude.

    A whole number stands for all up to the next, so that the last has its share.
    """
    whole = isinstance(low, int)
    end = high + 1 if whole else high
    if log:
        number = math.exp(math.log(low) + share * (math.log(end) - math.log(low)))
    else:
        number = low + share * (end - low)
    number = math.floor(number) if whole else float(f"{number:.{DIGITS}g}")
    return min(max(number, low), high)


def _draws(drawn: dict[str, Draw], draws: Found, seed: int) -> list[Layer]:
    """Return as many draws of all keys as are wanted, no two the same."""
    rng = random.Random(seed)
    different: dict[tuple[Any, ...], Layer] = {}
    for _ in range(TRIES * draws.value):
        values = {key: draw(rng.random()) for key, draw in drawn.items()}
        different.setdefault(tuple(found.value for found in values.values()), values)
        if len(different) == draws.value:
            return list(different.values())
    expected = f"at most {len(different)}: no more were found that differ"
    raise ConfigError(f"{draws.origin}: random.draws: found {draws.value}, expected {expected}")


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
