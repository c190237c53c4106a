"""A sweep's file: a base, what is varied of it, and the configurations of all trials that follow.

It is read as strictly as a configuration, and the configuration of every trial is built, and so
checked, before anything runs. Imports no NumPy.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from mlpcli.config import loading as configuration
from mlpcli.config import strict_yaml
from mlpcli.config.loading import UNLEARNED, Config, key, text
from mlpcli.config.strict_yaml import Found, Reader
from mlpcli.errors import ConfigError

MAX_TRIALS = 10_000
TRIAL = "trial"  # the name of each trial's run
DIGITS = 4  # of a number that was drawn: a table of them can be read
TRIES = 100  # draws for each that is wanted, until all differ
DOTTED_KEYS = "keys as in optimizer.learning_rate"


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
    """
    contents = _Contents(path)
    changes = dict(contents.changes)
    for set_text in sets:
        changes |= strict_yaml.read_set(Config, set_text)
    for name, found in changes.items():
        if name in contents.varied or (name == "seed" and contents.seeds):
            raise ConfigError(f"{found.origin}: {name}: is varied by the sweep, so it is not set")
        if name == "name":
            raise ConfigError(f"{found.origin}: name: trials are named by their sweep")
    base = strict_yaml.read_base(Config, contents.base, path) | changes
    base["name"] = Found(TRIAL, str(path))
    seeds = [{"seed": seed} for seed in contents.seeds] or [{}]
    count = contents.draws * math.prod(map(len, contents.grid.values())) * len(seeds)
    if count > MAX_TRIALS:
        raise ConfigError(f"{path}: found {count:,} trials, expected at most {MAX_TRIALS:,}")
    trials = [_trial(base, varied, seed) for varied in contents.combinations() for seed in seeds]
    return Sweep(configuration.name_of(path), tuple(contents.varied), tuple(trials))


def _trial(base: dict[str, Found], varied: dict[str, Found], seed: dict[str, Found]) -> Trial:
    values = {name: found.value for name, found in varied.items()}
    found = base | varied | seed
    try:
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


# The keys of a sweep's file; those of type None hold keys of the configuration.


@dataclass(frozen=True)
class RandomDraws:
    """Values that are drawn, beside or instead of a grid."""

    draws: int = key(1, "how many draws", low=1, high=MAX_TRIALS)
    seed: int = key(0, "of the draws", low=0)
    keys: None = key(None, "what each is drawn from: a list, or {low: …, high: …, log: true}")


@dataclass(frozen=True)
class File:
    """A configuration, and what is varied of it."""

    base: str = key("", "the configuration that is varied, by its path from here")
    set: None = key(None, "changes to the base, as optimizer.momentum: 0.9")
    grid: None = key(None, "lists of values, of which every combination is tried")
    random: RandomDraws = RandomDraws()
    seeds: tuple[int, ...] = key((), "each combination is tried with each of them", low=0)


class _Contents:
    """What a sweep's file holds, each value of its key's type and within its key's bounds."""

    def __init__(self, path: Path) -> None:
        self.own, self.reader = (Reader(root, str(path), True) for root in (File, Config))
        self.changes: dict[str, Found] = {}
        self.grid: dict[str, list[Found]] = {}
        self.random: dict[str, _Range | _Choice] = {}
        self.draws, self.draws_at, self.draw_seed = 1, "", 0
        self.seeds: list[Found] = []
        base = None
        document = self.own.document(strict_yaml.read_source(path))
        for name, where, node in self._entries(document, "", File):
            if name == "base":
                base = Found(self._own(node, File, "", name), where)
            elif name == "set":
                self._read_changes(node)
            elif name == "grid":
                for dotted, at, values in self.reader.entries(node, name, DOTTED_KEYS):
                    self._require_variable(dotted, at)
                    self.grid[dotted] = self._values(values, dotted)
            elif name == "random":
                self._read_random(node, where)
            else:
                seeds = self._own(node, File, "", name)
                self.seeds = [Found(seed, where) for seed in seeds]
                if not seeds or len(set(seeds)) < len(seeds):
                    self.own.refuse(node, name, text(seeds), "whole numbers, none of them twice")
        if base is None:
            raise ConfigError(f"{path}: base: found nothing, expected the file that is varied")
        if not (self.varied or self.seeds):
            raise ConfigError(f"{path}: nothing is varied; expected some of grid, random, seeds")
        self.base = base

    @property
    def varied(self) -> list[str]:
        return [*self.grid, *self.random]

    def combinations(self) -> list[dict[str, Found]]:
        """Return the values of the varied keys: each draw with every combination of the grid."""
        grid = [
            dict(zip(self.grid, values, strict=True))
            for values in itertools.product(*self.grid.values())
        ]
        return [chosen | drawn for drawn in self._drawn() for chosen in grid]

    def _drawn(self) -> list[dict[str, Found]]:
        rng = random.Random(self.draw_seed)
        drawn: dict[tuple[Any, ...], dict[str, Found]] = {}
        for _ in range(TRIES * self.draws):
            values = {name: options.draw(rng) for name, options in self.random.items()}
            drawn.setdefault(tuple(found.value for found in values.values()), values)
            if len(drawn) == self.draws:
                return list(drawn.values())
        raise ConfigError(
            f"{self.draws_at}: random.draws: found {self.draws}, "
            f"expected at most {len(drawn)}: no more were found that differ"
        )

    def _read_changes(self, node: Any) -> None:
        for dotted, where, value in self.reader.entries(node, "set", DOTTED_KEYS):
            for name, found in self.reader.value(value, *self.reader.resolve(dotted, where)):
                if name in self.changes:
                    first = self.changes[name].origin
                    raise ConfigError(f"{where}: {name}: set twice, first in {first}")
                self.changes[name] = found

    def _read_random(self, node: Any, where: str) -> None:
        given = {}
        for name, place, value in self._entries(node, "random", RandomDraws):
            given[name] = place
            if name == "draws":
                self.draws, self.draws_at = self._own(value, RandomDraws, "random.", name), place
            elif name == "seed":
                self.draw_seed = self._own(value, RandomDraws, "random.", name)
            else:
                for dotted, at, options in self.reader.entries(value, "random.keys", DOTTED_KEYS):
                    self._require_variable(dotted, at)
                    self.random[dotted] = self._options(options, dotted, at)
        for name in ("draws", "keys"):
            if name not in given:
                raise ConfigError(f"{where}: random: expected the keys draws and keys, no {name}")

    def _options(self, node: Any, dotted: str, where: str) -> _Range | _Choice:
        if not self.reader.is_mapping(node):
            return _Choice(self._values(node, dotted))
        ends: dict[str, Any] = {}
        log = False
        for name, place, value in self.reader.entries(node, dotted, "low, high, log"):
            if name == "log":
                log = self.reader.scalar(value, bool, f"{dotted}.log")
            elif name in ("low", "high"):
                ends[name] = self._value(value, dotted).value
            else:
                raise ConfigError(f"{place}: {dotted}.{name}: unknown key; known: low, high, log")
        if [type(end) for end in ends.values()] not in ([int, int], [float, float]):
            raise ConfigError(f"{where}: {dotted}: expected a list, or two numbers low and high")
        low, high = ends["low"], ends["high"]
        if not low < high:
            raise ConfigError(f"{where}: {dotted}: found {low} to {high}, expected low below high")
        if log and low <= 0:
            raise ConfigError(f"{where}: {dotted}.low: found {low}, expected above 0 for log: true")
        return _Range(low, high, log, where)

    def _require_variable(self, dotted: str, where: str) -> None:
        """Raise ConfigError for what is no key, or none that a sweep can vary."""
        cls, _, name = self.reader.resolve(dotted, where)
        hint = get_type_hints(cls)[name]
        if dataclasses.is_dataclass(hint):
            keys = ", ".join(f"{dotted}.{inner}" for inner in get_type_hints(hint))
            raise ConfigError(f"{where}: {dotted}: found a section, expected one of {keys}")
        if dotted in UNLEARNED:
            raise ConfigError(f"{where}: {dotted}: changes nothing that is learned: not to vary")
        if dotted == "seed":
            raise ConfigError(f"{where}: seed: found as a key to vary, expected under seeds:")
        if dotted in self.varied:
            raise ConfigError(f"{where}: {dotted}: found in grid and in random, expected in one")

    def _values(self, node: Any, dotted: str) -> list[Found]:
        """Return the values of a list, none of them twice."""
        found: list[Found] = []
        for item in self.reader.items(node, dotted, "a list of values"):
            value = self._value(item, dotted)
            if any(value.value == other.value for other in found):
                self.reader.refuse(item, dotted, f"{text(value.value)} twice", "each value once")
            found.append(value)
        return found

    def _value(self, node: Any, dotted: str) -> Found:
        owner = self.reader.resolve(dotted, self.reader.source)
        ((_, found),) = self.reader.value(node, *owner)
        return found

    def _own(self, node: Any, cls: type, prefix: str, name: str) -> Any:
        """Return the value of one of the file's own keys."""
        ((_, found),) = self.own.value(node, cls, prefix, name)
        return found.value

    def _entries(self, node: Any, path: str, cls: type) -> Iterator[tuple[str, str, Any]]:
        """Yield what stands in one of the file's own sections."""
        hints = get_type_hints(cls)
        for name, where, value in self.own.entries(node, path, f"the keys {', '.join(hints)}"):
            prefix = f"{path}." if path else ""
            if name not in hints:
                self.own.unknown(where, prefix + name, prefix, cls)
            yield name, where, value
