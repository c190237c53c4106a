"""A configuration file, the files that its `base:` names, and `--set` texts, as a Config and back.

What is read is a list of layers: each file of the `base:` chain, the lowest first, then all `--set`
texts together. A value of a higher layer replaces that of a lower one. Where a layer makes another
choice than those below it, as `optimizer.name: adamw` over SGD, their options that the new choice
does not have are dropped; options of another choice that stand beside it or above it are an error.
"""

from __future__ import annotations

import codecs
import dataclasses
import difflib
import itertools
import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mlpcli.config import shipped
from mlpcli.config.settings import (
    FILE_KEYS,
    KEYS,
    MAX_LAYERS,
    MAX_NAME,
    MAX_WEIGHTS,
    SECTIONS,
    UNLEARNED,
    Config,
)
from mlpcli.config.strict_yaml import Found, Reader, shortened
from mlpcli.errors import ConfigError, printable
from mlpcli.files import expanded, open_regular, reading, reason

MAX_BYTES = 64 * 1024
MAX_BASES = 10  # files that refine one another

# Origins of values that no file and no `--set` gives.
DEFAULT, OWN_NAME = "default", "the file's own name"

COMMENTS_AT = 40  # the last column where the origins of a commented file begin

Layer = dict[str, Found]


def load(path: Path | str, sets: Iterable[str] = ()) -> Config:
    """Make a Config of what `find` returns; raises ConfigError, also where two keys disagree."""
    return build(find(path, sets))


def find(path: Path | str, sets: Iterable[str] = ()) -> Layer:
    """Return what a configuration, the files that its `base:` names and `--set` texts say.

    `path` is what `locate` takes. Raises ConfigError for a file that cannot be read, for any key or
    value not understood, and for options of another choice.
    """
    path = locate(path)
    found = merge(*read_file(path), read_sets(sets))
    if "name" not in found or not found["name"].value:
        found["name"] = Found(name_of(path), OWN_NAME)
    return found


def resolve(path: Path | str, sets: Iterable[str] = ()) -> Layer:
    """Return the value of every key and where it came from; raises ConfigError as `load` does."""
    found = find(path, sets)
    settings = values(build(found))
    return {key: found.get(key) or Found(value, DEFAULT) for key, value in settings.items()}


def locate(path: Path | str) -> Path:
    """Return the file that is meant: `path` itself, the configuration of the run whose folder it
    is, or the shipped one of that name. Raises ConfigError where there is none of them.
    """
    path = expanded(path)
    if (path / "config.yaml").is_file():
        return path / "config.yaml"
    known = shipped.paths()
    if os.path.lexists(path) and not (path.is_dir() and str(path) in known):
        return path
    if str(path) in known:
        return known[str(path)]
    near = difflib.get_close_matches(path.stem, known, 1)
    suggestion = (
        f"did you mean the shipped {near[0]}?" if near else f"shipped are {', '.join(known)}"
    )
    raise ConfigError(
        f"{shortened(str(path))}: no such configuration file; {suggestion}",
        hint="mlpcli config list",
    )


def name_of(path: Path) -> str:
    """Return the name that a file gives to its run: its own, without what a name cannot have.

    That of `<(…)` in a shell is only a number.
    """
    stem = "stdin" if path.parent.name == "fd" else path.stem
    return re.sub(r"[^\w.-]+|^[.-]+", "-", stem).strip("-")[:MAX_NAME] or "run"


def read_file(path: Path, refined_by: tuple[Path, ...] = (), named_in: str = "") -> list[Layer]:
    """Return a file's values by dotted key, after those of the `base:` file that it may name.

    Origins and errors name that file as from where `path` starts: relative if `path` is.
    """
    text = read_source(path, named_in, may_be_pipe=not refined_by)
    found = Reader(shipped.shown(path), FILE_KEYS).read(text)
    base = found.pop("base", None)
    return [*(read_base(base, path, refined_by) if base else ()), placed(found, path)]


def placed(found: Layer, path: Path) -> Layer:
    """Return a file's values with `data.dir`, a path from that file's folder, made absolute.

    `~` and environment variables in it are expanded.
    """
    own = found.get("data.dir")
    if own is None or own.value is None:
        return found
    value = str((folder_of(path) / expanded(os.path.expandvars(own.value))).absolute())
    return found | {"data.dir": dataclasses.replace(own, value=value)}


def folder_of(path: Path) -> Path:
    """Return the folder from which a file's paths start; of what comes through a pipe this one."""
    return path.parent if path.is_file() else Path()


def read_base(base: Found, path: Path, refined_by: tuple[Path, ...] = ()) -> list[Layer]:
    """Return the layers of the file that the file `path` names as its `base:`.

    It is named by its path from there, or by the name of a shipped one.
    """
    named_in = f"{base.origin}: base: "
    try:
        folder = path.resolve().parent if refined_by else folder_of(path)
        value = expanded(base.value)
        base_path = (folder / value).resolve()
        typed = Path(os.path.normpath(folder_of(path) / value))
        shown = typed if typed.resolve() == base_path else base_path
        if base.value in shipped.paths() and not base_path.is_file():
            shown = shipped.paths()[base.value]
            base_path = shown.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"{named_in}{shortened(base.value)}: {reason(error)}") from None
    refined_by = (path.resolve(), *refined_by)
    if base_path in refined_by:
        raise ConfigError(f"{named_in}{shortened(base.value)}: circular `base:`")
    if len(refined_by) > MAX_BASES:
        raise ConfigError(f"{named_in}found over {MAX_BASES} files that refine one another")
    return read_file(shown, refined_by, named_in)


def read_source(path: Path, named_in: str = "", *, may_be_pipe: bool = True) -> str:
    """Return a file's text; raises ConfigError where it cannot be read or is no text."""
    with (
        reading(f"{named_in}{path}", ConfigError, "configuration file"),
        # What a shell passes may be a pipe; what a file names may not.
        path.open("rb") if may_be_pipe else open_regular(path) as file,
    ):
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{path}: over 64 KiB, too long for a configuration")
    for start, found in _OTHER_FORMATS.items():
        if raw.startswith(start):
            raise ConfigError(f"{path}: found {found}, expected UTF-8 text")
    if b"\0" in raw[:2]:
        raise ConfigError(f"{path}: found a byte of value 0, as in UTF-16, expected UTF-8 text")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 text (byte {error.start})") from None


# The first bytes of what is given in place of a configuration; UTF-32 begins as UTF-16 does.
_OTHER_FORMATS = {
    codecs.BOM_UTF32_LE: "UTF-32 text",
    codecs.BOM_UTF32_BE: "UTF-32 text",
    codecs.BOM_UTF16_LE: "UTF-16 text",
    codecs.BOM_UTF16_BE: "UTF-16 text",
    b"PK\3\4": "a ZIP archive, as a checkpoint is",
    b"\x1f\x8b": "a gzip file",
    b"\x89HDF": "an HDF5 file",
}


def read_sets(texts: Iterable[str]) -> Layer:
    """Return the values of `--set a.b=v` texts, read by the rules of a file; the last counts."""
    found: Layer = {}
    reader = Reader("--set", KEYS, numbered=False)
    for text in texts:
        key, equals, value = text.partition("=")
        if not (equals and key.strip()):
            raise ConfigError(
                f"--set {shortened(text)}: expected KEY=VALUE, as in optimizer.learning_rate=0.05"
            )
        found |= reader.values(key.strip(), "--set", reader.compose(value))
    return placed(found, Path())


def merge(*layers: Layer) -> Layer:
    """Return what layers come to, the lowest first.

    Raises ConfigError for an option of another choice than the one made in its layer or below.
    """
    found: Layer = {}
    for layer in layers:
        both = found | layer
        found = {key: value for key, value in found.items() if belongs(key, both)} | layer
        for key, value in layer.items():
            if not belongs(key, found):
                by, expected = chooser(key), " or ".join(KEYS[key].choices)
                choice = _chosen(by, found)
                raise ConfigError(
                    f"{value.origin}: {key}: belongs to {by} {expected}, "
                    f"found {choice.value} ({choice.origin})"
                )
    return found


def belongs(key: str, found: Layer) -> bool:
    """Whether a key is an option of the choice that is made for its section."""
    choices = KEYS[key].choices
    return not choices or _chosen(chooser(key), found).value in choices


def chooser(key: str) -> str:
    """Return the key that makes the choice for a key's section, if one does."""
    return f"{key.partition('.')[0]}.name"


def _chosen(chooser: str, found: Layer) -> Found:
    return found.get(chooser) or Found(KEYS[chooser].default, DEFAULT)


def build(found: Layer) -> Config:
    """Make a Config from values by dotted key; raises ConfigError where two keys disagree."""
    found = merge(found)
    given: dict[str, dict[str, Any]] = {section: {} for section in ("", *SECTIONS)}
    for key, value in found.items():
        section, _, name = key.rpartition(".")
        given[section][name] = value.value
    for section, arms in SECTIONS.items():
        choice = "" if "" in arms else _chosen(f"{section}.name", found).value
        given[""][section] = arms[choice](**given[section])
    config = Config(**given[""])
    _check(config, found)
    return config


def _check(config: Config, found: Layer) -> None:
    """Raise ConfigError where two keys disagree, or one of them does nothing."""

    def refuse(name: str, problem: str) -> None:
        origin = found[name].origin if name in found else DEFAULT
        raise ConfigError(f"{origin}: {name}: {problem}")

    data, model, augment, optimizer = config.data, config.model, config.augment, config.optimizer
    if not re.fullmatch(r"\w[\w.-]{0,59}", config.name):
        expected = "up to 60 letters, digits, and . _ - between them"
        refuse("name", f"found '{shortened(config.name)}', expected {expected}")
    layers = len(model.hidden)
    if layers > MAX_LAYERS:
        refuse("model.hidden", f"found {layers:,} layers, expected at most {MAX_LAYERS}")
    weights = sum(D * H for D, H in itertools.pairwise(model.layer_sizes(3072, 10)))
    if weights > MAX_WEIGHTS:
        refuse("model.hidden", f"found {weights:,} weights, expected at most {MAX_WEIGHTS:,}")
    if not model.hidden and model.activation != KEYS["model.activation"].default:
        refuse("model.activation", f"found {model.activation}, but model.hidden has no layers")
    if data.val_size == 0 and data.val_seed != 0:
        refuse("data.val_seed", "needs a validation split, but data.val_size is 0")
    if data.val_size == 0 and config.training.patience is not None:
        refuse("training.patience", "needs a validation split, but data.val_size is 0")
    if config.schedule.warmup_epochs >= config.training.epochs:
        refuse("schedule.warmup_epochs", f"expected fewer than the {config.training.epochs} epochs")
    if augment.is_affine and config.features.name != "pca":
        moving = next(key for key in ("shift", "rotation", "zoom") if getattr(augment, key))
        refuse(f"augment.{moving}", f"needs features.name pca, found {config.features.name}")
    if optimizer.name == "sgd" and optimizer.nesterov and not optimizer.momentum:
        refuse("optimizer.nesterov", "needs optimizer.momentum above 0")


def to_dict(config: Config) -> dict[str, Any]:
    """Return nested plain values, as JSON and YAML hold them."""
    plain: dict[str, Any] = dataclasses.asdict(config)
    plain["model"]["hidden"] = list(config.model.hidden)
    return plain


def to_yaml(config: Config) -> str:
    """Return the resolved configuration as a file that `load` reads back to the same."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)


def to_commented_yaml(resolved: Layer) -> str:
    """Return what `resolve` did as a file that `load` reads back, with origins as comments."""
    lines: list[tuple[str, str]] = []
    section = ""
    for key, found in resolved.items():
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
    options: dict[str, Any] = {"default_flow_style": True, "allow_unicode": True, "width": math.inf}
    text = yaml.safe_dump([value], **options)
    if text.count("\n") > 1:
        text = yaml.safe_dump([value], default_style='"', **options)
    return text[1:-2]  # without the brackets of the list, in which YAML ends no document


def from_dict(plain: Any, origin: str, sets: Iterable[str] = ()) -> Config:
    """Read what `to_dict` returned, as strictly as a file, with `--set` texts over it.

    `origin` names it in errors.
    """
    text = yaml.safe_dump(plain, sort_keys=False)
    found = Reader(origin, KEYS, numbered=False).read(text)
    return build(merge(found, read_sets(sets)))


def from_mapping(settings: Mapping[str, Any], origin: str) -> Config:
    """Make a Config of keys, dotted or nested, over the configuration that `base` names, if any.

    `base` is what `load` takes, and its name that of the result. Raises ConfigError as `load` does.
    """
    reader, found = Reader(origin, FILE_KEYS, numbered=False), Layer()
    for key, value in settings.items():
        try:
            text = json.dumps(value, ensure_ascii=False, default=_plain)
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigError(f"{origin}: {shortened(str(key))}: {reason(error)}") from None
        found |= reader.values(str(key), origin, reader.compose(text))
    base = found.pop("base", None)
    found = placed(found, Path())
    return build(merge(find(base.value) if base else {"name": Found("run", DEFAULT)}, found))


def _plain(value: Any) -> Any:
    """Return a path, or what is NumPy's, as JSON has it."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"found {type(value).__name__}, expected a number, text, list or mapping")


def values(config: Config) -> dict[str, Any]:
    """Return the value of each key that a configuration has, by dotted key."""
    found = {}
    for key in KEYS:
        section, _, name = key.rpartition(".")
        owner = getattr(config, section) if section else config
        if hasattr(owner, name):
            found[key] = getattr(owner, name)
    return found


def learned(config: Config) -> tuple[Any, ...]:
    """Return the values of all keys but `UNLEARNED`: two runs with the same learn the same."""
    return tuple(pair for pair in values(config).items() if pair[0] not in UNLEARNED)


def differences(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    """Return the keys whose values differ, each with its old and its new value.

    The value of an option that a configuration's choice does not have is None.
    """
    was, now = values(old), values(new)
    pairs = {key: (was.get(key), now.get(key)) for key in KEYS}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


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
