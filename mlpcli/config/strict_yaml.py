"""Strict YAML: text into the values of a table's keys, each with the place it came from.

Values are read by the type that a key expects, not by YAML's guesses: `1e-3` is a number, and `no`
where a string was meant is an error. Whatever is not understood is a ConfigError that names the
file, the line, the key, what was found and what was expected.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import yaml

from mlpcli.config.settings import MAX_TEXT, Key
from mlpcli.errors import ConfigError, printable

MAX_DEPTH = 20
MAX_QUOTED = 60  # characters of what an error quotes


@dataclass(frozen=True)
class Found:
    """A value and where it came from: `note.yaml:3`, or `--set`."""

    value: Any
    origin: str


@dataclass(frozen=True)
class Reader:
    """Reads nodes of one source by a table of keys; errors name the source and, mostly, the line.

    A key `a.b` of the table is the key `b` of the section `a`, a mapping.
    """

    source: str
    keys: Mapping[str, Key]
    numbered: bool = True

    def read(self, text: str) -> dict[str, Found]:
        """Return the values of a whole document, by dotted key."""
        nodes = self.section("", self.document(text))
        return {key: self.value(key, node) for key, node in nodes}

    def values(self, path: str, where: str, node: Any) -> dict[str, Found]:
        """Return the value of the key `path`, or of each key given of that section."""
        return {key: self.value(key, inner) for key, inner in self.nodes(path, where, node)}

    def document(self, text: str) -> Any:
        """Return the node of a whole document; raises ConfigError where it is empty."""
        node = self.compose(text)
        if node is None or (isinstance(node, yaml.ScalarNode) and node.value == ""):
            keys = ", ".join(self.names(""))
            raise ConfigError(f"{self.source}: empty; expected some of the keys {keys}")
        return node

    def compose(self, text: str) -> Any:
        """Return the node of a text's one document, or None where it holds nothing."""
        try:
            composer = _Composer(text)
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position)
            where = self._at(yaml.Mark("", error.position, line, 0, None, 0))
            found = f"found the character U+{error.character:04X}"
            raise ConfigError(f"{where}: not valid YAML: {found}") from None
        try:
            return composer.get_single_node()
        except _RefusedError as refused:
            raise ConfigError(f"{self._at(refused.problem_mark)}: {refused.problem}") from None
        except yaml.MarkedYAMLError as error:
            where = self._at(error.problem_mark or error.context_mark)
            raise ConfigError(f"{where}: not valid YAML: {shortened(str(error.problem))}") from None
        except (ValueError, OverflowError):  # "\UFFFFFFFF", or a version of 5000 digits
            where = self._at(composer.get_mark())
            raise ConfigError(f"{where}: not valid YAML: a number out of range") from None

    def nodes(self, path: str, where: str, node: Any) -> Iterator[tuple[str, Any]]:
        """Yield the key `path`, or each key given of that section, with the node of its value.

        Raises ConfigError, naming the nearest key, for one that does not exist.
        """
        if path in self.keys:
            yield path, node
        elif path and self.names(path):
            yield from self.section(path, node)
        else:
            self.unknown(path, where)

    def section(self, path: str, node: Any) -> Iterator[tuple[str, Any]]:
        """Yield each key given of a section, "" for the whole document, as `nodes` does."""
        names = self.names(path)
        for name, where, inner in self.entries(node, path, f"the keys {', '.join(names)}"):
            dotted = f"{path}.{name}" if path else name
            if name not in names:
                self.unknown(dotted, where)
            yield from self.nodes(dotted, where, inner)
            names.remove(name)
        for name in names:
            dotted = f"{path}.{name}" if path else name
            if dotted in self.keys and self.keys[dotted].required:
                self.refuse(node, dotted, "nothing", self.keys[dotted].expected)

    def entries(self, node: Any, path: str, expected: str) -> Iterator[tuple[str, str, Any]]:
        """Yield name, place and value node of what the mapping `path` holds, each name once."""
        if not isinstance(node, yaml.MappingNode):
            name = f" {path}:" if path else ""
            found = _describe(node)
            raise ConfigError(f"{self._at_node(node)}:{name} found {found}, expected {expected}")
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            where, name = self._at_node(key_node), key_node.value
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(f"{where}: found {_describe(key_node)} as a key, expected a name")
            if name in seen:
                key = f"{path}.{name}" if path else name
                raise ConfigError(f"{where}: {key}: set twice, first in line {seen[name]}")
            seen[name] = key_node.start_mark.line + 1
            yield name, where, value_node

    def is_mapping(self, node: Any) -> bool:
        return isinstance(node, yaml.MappingNode)

    def items(self, node: Any, path: str) -> list[Any]:
        """Return the nodes of a list of values that is not empty."""
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            is_list = isinstance(node, yaml.SequenceNode)
            found = "an empty list" if is_list else _describe(node)
            self.refuse(node, path, found, "a list of values")
        return list(node.value)

    def value(self, path: str, node: Any) -> Found:
        """Return the value of a key, checked against its type and bounds."""
        key = self.keys[path]
        if node is None or (key.is_list and not isinstance(node, yaml.SequenceNode)):
            self.refuse(node, path, _describe(node), key.expected)
        if key.is_list:
            item = replace(key, is_list=False)
            value: Any = tuple(self._scalar(inner, path, item) for inner in node.value)
        else:
            value = self._scalar(node, path, key)
        for number in value if key.is_list else (value,):
            if number is not None and not key.bounds.hold(number):
                found = str(number) if key.is_list else _describe(node)
                self.refuse(node, path, found, f"a number {key.bounds}")
        return Found(value, self._at_node(node))

    def refuse(self, node: Any, path: str, found: str, expected: str) -> NoReturn:
        """Raise ConfigError for the value of a key."""
        raise ConfigError(f"{self._at_node(node)}: {path}: found {found}, expected {expected}")

    def _scalar(self, node: Any, path: str, key: Key) -> Any:
        """Return a scalar node's value as the key's type, one of its names, or None."""
        is_scalar = isinstance(node, yaml.ScalarNode)
        text, plain = node.value if is_scalar else "", is_scalar and not node.style
        if key.or_null and plain and text in _NULLS:
            return None
        if key.names:
            if is_scalar and text in key.names:
                return text
            near = difflib.get_close_matches(text, key.names, 1)
            guess = f"; did you mean {near[0]}?" if near else ""
            self.refuse(node, path, _describe(node), key.expected + guess)
        if key.kind is bool and plain and text in ("true", "false"):
            return text == "true"
        is_number = plain and key.kind in _NUMBERS and re.fullmatch(_NUMBERS[key.kind], text)
        if is_number and math.isfinite(float(text)):
            return key.kind(text)
        # A plain `no`, `010` or `12:30` is not a string to YAML: it has to be quoted to be one.
        if key.kind is str and is_scalar and node.tag == "tag:yaml.org,2002:str":
            if len(text) > MAX_TEXT:
                expected = f"a string of at most {MAX_TEXT:,} characters"
                self.refuse(node, path, _describe(node), expected)
            return text
        quoted = "a string in quotes" if plain else "a string"
        expected = key.expected.replace("a string", quoted)
        return self.refuse(node, path, _describe(node), expected)

    def names(self, section: str) -> list[str]:
        """Return the names in a section, as they come in the table; none of what is no section."""
        prefix = f"{section}." if section else ""
        inner = (key.removeprefix(prefix) for key in self.keys if key.startswith(prefix))
        return list(dict.fromkeys(key.partition(".")[0] for key in inner))

    def unknown(self, path: str, where: str) -> NoReturn:
        """Refuse a key that does not exist, naming the nearest one that does."""
        sections = {key.rpartition(".")[0] for key in self.keys}
        section = max((s for s in sections if path.startswith(f"{s}.")), key=len, default="")
        siblings = [f"{section}.{name}" if section else name for name in self.names(section)]
        # Names are compared without their sections: two keys of one section are not near for that.
        last = _last(path)[:MAX_QUOTED]
        near = [
            name
            for candidates in (siblings, list(self.keys))
            for match in difflib.get_close_matches(last, [_last(c) for c in candidates], 1)
            for name in candidates
            if _last(name) == match
        ]
        guess = f"did you mean {near[0]}?" if near else f"known here: {', '.join(siblings)}"
        raise ConfigError(f"{where}: {shortened(path)}: unknown key; {guess}")

    def _at_node(self, node: Any) -> str:
        return self._at(None if node is None else node.start_mark)

    def _at(self, mark: Any) -> str:
        return f"{self.source}:{mark.line + 1}" if self.numbered and mark else self.source


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


_NULLS = ("null", "~", "")
_NUMBERS = {
    int: r"[-+]?(0|[1-9][0-9]{0,17})",
    float: r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?",
}


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def shortened(text: str) -> str:
    """Quote a text from a file or a shell on one line, and not all of it if it is long."""
    return printable(text if len(text) <= MAX_QUOTED else text[: MAX_QUOTED - 1] + "…")


def _describe(node: Any) -> str:
    """Name what stands in a file, shortly, for an error."""
    if node is None:  # `--set key=`
        return "nothing"
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    text = shortened(node.value)
    return f"the string '{text}'" if node.style else text or "nothing"
