"""Strict YAML: text into the values of a dataclass's keys, each with the place it came from.

Values are read by the type that a key expects, not by YAML's guesses: `1e-3` is a number, and `no`
where a string was meant is an error. Whatever is not understood is a ConfigError that names the
file, the line, the key, what was found and what was expected.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

import yaml

from mlpcli.errors import ConfigError, printable
from mlpcli.files import open_regular

MAX_BYTES = 64 * 1024
MAX_DEPTH = 20
MAX_BASES = 10  # files that refine one another
MAX_TEXT = 4096  # characters of a string: a path can have no more
MAX_QUOTED = 60  # characters of what an error quotes


@dataclass(frozen=True)
class Found:
    """A value and where it came from: `note.yaml:3`, or `--set`."""

    value: Any
    origin: str


def read_file(
    root: type, path: Path, refined_by: tuple[Path, ...] = (), named_in: str = ""
) -> dict[str, Found]:
    """Return a file's values by dotted key, on top of those of the `base:` file it may name.

    Origins and errors name that file as from where `path` starts: relative if `path` is.
    """
    text = read_source(path, named_in, may_be_pipe=not refined_by)
    found = read_text(root, text, str(path))
    base = found.pop("base", None)
    if base is None:
        return found
    return read_base(root, base, path, refined_by) | found


def read_base(
    root: type, base: Found, path: Path, refined_by: tuple[Path, ...] = ()
) -> dict[str, Found]:
    """Return the values of the file that the file `path` names as its `base:`."""
    named_in = f"{base.origin}: base: "
    try:
        folder = path.resolve().parent if refined_by else path.parent
        base_path = (folder / base.value).resolve()
        typed = Path(os.path.normpath(path.parent / base.value))
        shown = typed if typed.resolve() == base_path else base_path
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"{named_in}{shortened(base.value)}: {_reason(error)}") from None
    refined_by = (path.resolve(), *refined_by)
    if base_path in refined_by:
        raise ConfigError(f"{named_in}{shortened(base.value)} refines itself in a circle")
    if len(refined_by) > MAX_BASES:
        raise ConfigError(f"{named_in}found over {MAX_BASES} files that refine one another")
    return read_file(root, shown, refined_by, named_in)


def read_source(path: Path, named_in: str = "", *, may_be_pipe: bool = True) -> str:
    """Return a file's text; raises ConfigError where it cannot be read or is no text."""
    try:
        # What a shell passes may be a pipe; what a file names may not.
        with path.open("rb") if may_be_pipe else open_regular(path) as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"{named_in}{path}: no such configuration file") from None
    except (OSError, ValueError) as error:  # a ValueError: a zero byte in the path
        raise ConfigError(f"{named_in}{path}: cannot be read: {_reason(error)}") from None
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{path}: over 64 KiB, too long for a configuration")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 text (byte {error.start})") from None


def read_set(root: type, text: str) -> dict[str, Found]:
    """Return the value of a `--set a.b=v` text, read by the rules of a file."""
    path, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(
            f"--set {shortened(text)}: expected KEY=VALUE, as in optimizer.learning_rate=0.05"
        )
    reader = Reader(root, "--set", numbered=False)
    cls, prefix, name = reader.resolve(path.strip(), "--set")
    return dict(reader.value(reader.compose(value), cls, prefix, name))


def read_text(root: type, text: str, source: str, *, numbered: bool = True) -> dict[str, Found]:
    """Return the values of a whole document; `source` names it in errors."""
    reader = Reader(root, source, numbered)
    node = reader.document(text)
    return dict(reader.mapping(node, root, ""))


def dotted_keys(root: type, prefix: str = "") -> Iterator[str]:
    """Yield every key of a dataclass of dataclasses: `seed`, `data.name`, …"""
    for name, hint in get_type_hints(root).items():
        if dataclasses.is_dataclass(hint):
            yield from dotted_keys(hint, f"{prefix}{name}.")  # type: ignore[arg-type]
        else:
            yield prefix + name


@dataclass(frozen=True)
class Reader:
    """Reads nodes of one source as `root`; errors name the source, and the line if `numbered`."""

    root: type
    source: str
    numbered: bool

    def at(self, mark: Any) -> str:
        return f"{self.source}:{mark.line + 1}" if self.numbered and mark else self.source

    def document(self, text: str) -> Any:
        """Return the node of a whole document; raises ConfigError where it is empty."""
        node = self.compose(text)
        if node is None or (isinstance(node, yaml.ScalarNode) and node.value == ""):
            keys = ", ".join(get_type_hints(self.root))
            raise ConfigError(f"{self.source}: empty; expected some of the keys {keys}")
        return node

    def compose(self, text: str) -> Any:
        """Return the node of a text's one document, or None where it holds nothing."""
        try:
            composer = _Composer(text)
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position)
            where = self.at(yaml.Mark("", error.position, line, 0, None, 0))
            found = f"found the character U+{error.character:04X}"
            raise ConfigError(f"{where}: not valid YAML: {found}") from None
        try:
            return composer.get_single_node()
        except _RefusedError as refused:
            raise ConfigError(f"{self.at(refused.problem_mark)}: {refused.problem}") from None
        except yaml.MarkedYAMLError as error:
            where = self.at(error.problem_mark or error.context_mark)
            raise ConfigError(f"{where}: not valid YAML: {shortened(str(error.problem))}") from None
        except (ValueError, OverflowError):  # "\UFFFFFFFF", or a version of 5000 digits
            where = self.at(composer.get_mark())
            raise ConfigError(f"{where}: not valid YAML: a number out of range") from None

    def mapping(self, node: Any, cls: type, prefix: str) -> Iterator[tuple[str, Found]]:
        """Yield dotted keys and values of a mapping node that stands for `cls`."""
        hints = get_type_hints(cls)
        keys = f"the keys {', '.join(hints)}"
        for name, where, value_node in self.entries(node, prefix[:-1], keys):
            if name == "base" and not prefix and self.numbered:
                base = self.scalar(value_node, str, "base")
                yield name, Found(base, where)
            elif name not in hints:
                self.unknown(where, prefix + name, prefix, cls)
            else:
                yield from self.value(value_node, cls, prefix, name)

    def entries(self, node: Any, path: str, expected: str) -> Iterator[tuple[str, str, Any]]:
        """Yield name, place and value node of what a mapping node holds, each name once."""
        if not isinstance(node, yaml.MappingNode):
            name = f" {path}:" if path else ""
            raise ConfigError(
                f"{self.at(node.start_mark)}:{name} found {_describe(node)}, expected {expected}"
            )
        prefix = f"{path}." if path else ""
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            where, name = self.at(key_node.start_mark), key_node.value
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(f"{where}: found {_describe(key_node)} as a key, expected a name")
            if name in seen:
                raise ConfigError(f"{where}: {prefix}{name}: set twice, first in line {seen[name]}")
            seen[name] = key_node.start_mark.line + 1
            yield name, where, value_node

    def is_mapping(self, node: Any) -> bool:
        return isinstance(node, yaml.MappingNode)

    def items(self, node: Any, path: str, expected: str) -> list[Any]:
        """Return the nodes of a list that is not empty."""
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            is_list = isinstance(node, yaml.SequenceNode)
            self.refuse(node, path, "an empty list" if is_list else _describe(node), expected)
        return list(node.value)

    def resolve(self, key: str, where: str) -> tuple[type, str, str]:
        """Return the class that holds a dotted key, the prefix of that class, and the key's name.

        Raises ConfigError, naming the nearest key, for one that does not exist.
        """
        cls, prefix = self.root, ""
        *parents, name = key.split(".")
        for part in parents:
            inner = get_type_hints(cls).get(part)
            if not dataclasses.is_dataclass(inner):
                self.unknown(where, key, prefix, cls)
            cls, prefix = inner, f"{prefix}{part}."  # type: ignore[assignment]
        if name not in get_type_hints(cls):
            self.unknown(where, key, prefix, cls)
        return cls, prefix, name

    def value(self, node: Any, cls: type, prefix: str, name: str) -> Iterator[tuple[str, Found]]:
        """Yield the value(s) of key `name` of `cls`, checked against its type and bounds."""
        hint, path = get_type_hints(cls)[name], prefix + name
        if dataclasses.is_dataclass(hint):
            yield from self.mapping(node, hint, path + ".")  # type: ignore[arg-type]
            return
        if node is None:  # `--set key=`
            raise ConfigError(f"{self.source}: {path}: found nothing, expected {_expected(hint)}")
        value = self.typed(node, hint, path)
        (item,) = (f for f in dataclasses.fields(cls) if f.name == name)
        bounds = {k: v for k, v in item.metadata["bounds"].items() if v is not None}
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, (int, float)) and not all(
                _HOLDS[bound](number, limit) for bound, limit in bounds.items()
            ):
                expected = " and ".join(f"{bound} {limit}" for bound, limit in bounds.items())
                found = str(number) if isinstance(value, tuple) else _describe(node)
                self.refuse(node, path, found, f"a number {expected}")
        yield path, Found(value, self.at(node.start_mark))

    def typed(self, node: Any, hint: Any, path: str) -> Any:
        """Return a node's value as the type `hint`."""
        if get_origin(hint) is UnionType:  # X | None
            if isinstance(node, yaml.ScalarNode) and not node.style and node.value in _NULLS:
                return None
            (hint,) = (arm for arm in get_args(hint) if arm is not NoneType)
            return self.scalar(node, hint, path, or_null=" or null")
        if get_origin(hint) is tuple:
            if not isinstance(node, yaml.SequenceNode):
                self.refuse(node, path, _describe(node), _expected(hint))
            return tuple(self.scalar(item, get_args(hint)[0], path) for item in node.value)
        return self.scalar(node, hint, path)

    def scalar(self, node: Any, hint: Any, path: str, or_null: str = "") -> Any:
        """Return a scalar node's value as int, float, bool, str or one of a Literal's names."""
        text = node.value if isinstance(node, yaml.ScalarNode) else ""
        plain = isinstance(node, yaml.ScalarNode) and not node.style
        if get_origin(hint) is Literal:
            if isinstance(node, yaml.ScalarNode) and text in get_args(hint):
                return text
            near = difflib.get_close_matches(text, get_args(hint), 1)
            guess = f"; did you mean {near[0]}?" if near else ""
            self.refuse(node, path, _describe(node), _expected(hint) + guess)
        if hint is bool and plain and text in ("true", "false"):
            return text == "true"
        if hint is int and plain and re.fullmatch(r"[-+]?(0|[1-9][0-9]{0,17})", text):
            return int(text)
        if hint is float and plain and re.fullmatch(_NUMBER, text) and math.isfinite(float(text)):
            return float(text)
        # A plain `no`, `010` or `12:30` is not a string to YAML: it has to be quoted to be one.
        is_text = isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:str"
        if hint is str and is_text:
            if len(text) > MAX_TEXT:
                expected = f"a string of at most {MAX_TEXT:,} characters"
                self.refuse(node, path, _describe(node), expected)
            return text
        quote = ", in quotes" if hint is str and plain else ""
        return self.refuse(node, path, _describe(node), _expected(hint) + quote + or_null)

    def refuse(self, node: Any, path: str, found: str, expected: str) -> NoReturn:
        where = self.at(node.start_mark)
        raise ConfigError(f"{where}: {path}: found {found}, expected {expected}")

    def unknown(self, where: str, path: str, prefix: str, cls: type) -> NoReturn:
        """Refuse a key that does not exist, naming the nearest one that does."""
        siblings = [prefix + name for name in get_type_hints(cls)]
        everywhere = list(dotted_keys(self.root))
        # Names are compared without their sections: two keys of one section are not near for that.
        last = _last(path)[:MAX_QUOTED]
        near = [
            name
            for candidates in (siblings, everywhere)
            for match in difflib.get_close_matches(last, [_last(c) for c in candidates], 1)
            for name in candidates
            if _last(name) == match
        ]
        guess = f"did you mean {near[0]}?" if near else f"known here: {', '.join(siblings)}"
        raise ConfigError(f"{where}: {shortened(path)}: unknown key; {guess}")


class _RefusedError(yaml.MarkedYAMLError):
    pass


class _Composer(yaml.SafeLoader):
    """Makes nodes, but none of what a configuration has no use for."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or event.anchor:
            self.refuse("anchors and aliases are not accepted", event)
        if event.tag:
            self.refuse(f"tags are not accepted: {shortened(event.tag)}", event)
        if self.depth == MAX_DEPTH:
            self.refuse(f"nested over {MAX_DEPTH} levels deep", event)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def refuse(self, problem: str, event: Any) -> NoReturn:
        raise _RefusedError(None, None, problem, event.start_mark)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


_NULLS = ("null", "~", "")
_NUMBER = r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?"
_HOLDS = {
    "at least": lambda x, limit: x >= limit,
    "above": lambda x, limit: x > limit,
    "at most": lambda x, limit: x <= limit,
    "below": lambda x, limit: x < limit,
}


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def shortened(text: str) -> str:
    """Quote a text from a file or a shell on one line, and not all of it if it is long."""
    return printable(text if len(text) <= MAX_QUOTED else text[: MAX_QUOTED - 1] + "…")


def _describe(node: Any) -> str:
    """Name what stands in a file, shortly, for an error."""
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    text = shortened(node.value)
    return f"the string '{text}'" if node.style else text or "nothing"


def _expected(hint: Any) -> str:
    if get_origin(hint) is UnionType:
        return f"{_expected(get_args(hint)[0])} or null"
    if get_origin(hint) is tuple:
        return "a list of whole numbers, as in [512, 256]"
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(get_args(hint))
    names = {
        bool: "true or false",
        int: "a whole number",
        float: "a finite number",
        str: "a string",
    }
    return names[hint]
