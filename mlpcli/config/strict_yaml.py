"""Strict YAML: text into the values of a table's keys, each with the place it came from.

Values are read by the type that a key expects, not by YAML's guesses: `1e-3` is a number, and `no`
where a string was meant is an error. Whatever is not understood is a ConfigError that names the
file, the line, the key, what was found and what was expected.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import yaml

from mlpcli.config.settings import ABBREVIATIONS, MAX_TEXT, Key
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
    """Reads one source by a table of keys; errors name the source and, if `numbered`, the line.

    A key `a.b` of the table is the key `b` of the section `a`, a mapping.
    """

    source: str
    keys: Mapping[str, Key]
    numbered: bool = True

    def read(self, text: str) -> dict[str, Found]:
        """Return the values of a whole document, by dotted key; raises ConfigError if it is empty.

        The value of a key of the type dict has for each name its place and the node of its value.
        """
        node = self.compose(text)
        if node is None or (isinstance(node, yaml.ScalarNode) and node.value == ""):
            keys = ", ".join(self.names(""))
            raise ConfigError(f"{self.source}: empty; expected some of the keys {keys}")
        return self._section("", node)

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
        except _NotAcceptedError as error:
            raise ConfigError(f"{self._at(error.problem_mark)}: {error.problem}") from None
        except yaml.MarkedYAMLError as error:
            where = self._at(error.problem_mark or error.context_mark)
            raise ConfigError(
                f"{where}: not valid YAML: {_explained(str(error.problem))}"
            ) from None
        except (ValueError, OverflowError):  # "\UFFFFFFFF", or a version of 5000 digits
            where = self._at(composer.get_mark())
            raise ConfigError(f"{where}: not valid YAML: a number out of range") from None

    def values(self, path: str, where: str, node: Any) -> dict[str, Found]:
        """Return the value of the key `path`, or of each key given of that section.

        Raises ConfigError, naming the nearest key, for one that does not exist.
        """
        if path in self.keys:
            return {path: self.value(path, node)}
        if not (path and self.names(path)):
            self.unknown(path, where)
        return self._section(path, node)

    def _section(self, path: str, node: Any) -> dict[str, Found]:
        """Return the value of each key given of a section, "" for the whole document."""
        names = self.names(path)
        expected = f"the keys {', '.join(map(_last, names))}"
        values: dict[str, Found] = {}
        for name, (where, inner) in self._entries(path, node, expected).items():
            key = f"{path}.{name}" if path else name
            if key not in names:
                self.unknown(key, where)
            values |= self.values(key, where, inner)
        for key in names:
            if key in self.keys and self.keys[key].required and key not in values:
                self._refuse(key, node, "nothing", self.keys[key].expected)
        return values

    def _entries(self, path: str, node: Any, expected: str) -> dict[str, tuple[str, Any]]:
        """Return the place and the value node of each name in the mapping `path`."""
        self._require(path, node, yaml.MappingNode, expected)
        entries: dict[str, tuple[str, Any]] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            where, name = self._at_node(key_node), key_node.value
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(f"{where}: found {_describe(key_node)} as a key, expected a name")
            if name in lines:
                key = f"{path}.{name}" if path else name
                raise ConfigError(f"{where}: {key}: set twice, first in line {lines[name]}")
            lines[name] = key_node.start_mark.line + 1
            entries[name] = where, value_node
        return entries

    def value(self, path: str, node: Any) -> Found:
        """Return the value of a key, checked against its type and bounds."""
        key = self.keys[path]
        value: Any
        if key.kind is dict:
            value = self._entries(path, node, key.expected)
        elif key.is_list:
            self._require(path, node, yaml.SequenceNode, key.expected)
            item = replace(key, is_list=False)
            value = tuple(self._scalar(path, inner, item) for inner in node.value)
        else:
            value = self._scalar(path, node, key)
        return Found(value, self._at_node(node))

    def items(self, path: str, node: Any) -> list[Found]:
        """Return the values of a list that is not empty, each checked as a value of the key."""
        self._require(path, node, yaml.SequenceNode, "a list of values")
        if not node.value:
            self._refuse(path, node, "an empty list", "a list of values")
        return [self.value(path, item) for item in node.value]

    def _scalar(self, path: str, node: Any, key: Key) -> Any:
        """Return a scalar node's value as the key's type, one of its names, or None."""
        is_scalar = isinstance(node, yaml.ScalarNode)
        text, plain = node.value if is_scalar else "", is_scalar and not node.style
        expected = key.expected
        if key.or_null and plain and text in _NULLS:
            return None
        if key.names:
            if is_scalar and text in key.names:
                return text
            if near := difflib.get_close_matches(text, key.names, 1):
                expected += f"; did you mean {near[0]}?"
        elif key.kind is bool:
            if plain and text in ("true", "false"):
                return text == "true"
        elif key.kind is not str:
            if plain and re.fullmatch(_NUMBERS[key.kind], text) and math.isfinite(float(text)):
                if key.bounds.hold(number := key.kind(text)):
                    return number
                expected = f"a number {key.bounds}"
        # A plain `no`, `010` or `12:30` is not a string to YAML: it has to be quoted to be one.
        elif is_scalar and node.tag == "tag:yaml.org,2002:str":
            self._require_no_drive(path, node, expected)
            if len(text) <= MAX_TEXT:
                return text
            expected = f"a string of at most {MAX_TEXT:,} characters"
        elif plain:
            expected = expected.replace("a string", "a string in quotes")
        return self._refuse(path, node, _describe(node), expected)

    def _require(self, path: str, node: Any, kind: type[yaml.Node], expected: str) -> None:
        """Raise ConfigError for the node of a key, or "" for the document, of another kind."""
        if not isinstance(node, kind):
            self._refuse(path, node, _describe(node), expected)

    def _require_no_drive(self, path: str, node: Any, expected: str) -> None:
        """Refuse `"C:\\new"`: in double quotes a line end comes after the colon, and `ew`."""
        if re.match("[A-Za-z]:[\0-\x1f]", node.value):
            found = f"'{shortened(node.value)}', an escape in double quotes"
            self._refuse(path, node, found, f"{expected}; single quotes keep backslashes")

    def _refuse(self, path: str, node: Any, found: str, expected: str) -> NoReturn:
        """Raise ConfigError for the node of a key, or "" for the document."""
        where = ": ".join(filter(None, (self._at_node(node), path)))
        raise ConfigError(f"{where}: found {found}, expected {expected}")

    def names(self, section: str) -> list[str]:
        """Return the dotted names in a section, in the order of the table; of others, none."""
        prefix = re.escape(f"{section}." if section else "")
        matches = (re.match(rf"{prefix}[^.]+", key) for key in self.keys)
        return list(dict.fromkeys(match[0] for match in matches if match))

    def unknown(self, path: str, where: str) -> NoReturn:
        """Refuse a key that does not exist, naming the nearest one that does."""
        if path in self.keys or any(key.startswith(f"{path}.") for key in self.keys):
            section, _, last = path.rpartition(".")
            raise ConfigError(
                f"{where}: found {path} as one key, expected {last}: in the section {section}:"
            )
        sections = {key.rpartition(".")[0] for key in self.keys}
        section = max((s for s in sections if path.startswith(f"{s}.")), key=len, default="")
        siblings = self.names(section)
        # Names are compared without their sections: two keys of one section are not near for that.
        last = ABBREVIATIONS.get(_last(path), _last(path))[:MAX_QUOTED]
        for candidates in (siblings, list(self.keys)):
            if match := difflib.get_close_matches(last, map(_last, candidates), 1):
                near = [name for name in candidates if _last(name) == match[0]]
                suggestion = f"did you mean {' or '.join(near)}?"
                break
        else:
            suggestion = f"known here: {', '.join(siblings)}"
        raise ConfigError(f"{where}: {shortened(path)}: unknown key; {suggestion}")

    def _at_node(self, node: Any) -> str:
        return self._at(None if node is None else node.start_mark)

    def _at(self, mark: Any) -> str:
        return f"{self.source}:{mark.line + 1}" if self.numbered and mark else self.source


# What PyYAML says where the reason is another than it seems, and what is said instead.
_EXPLAINED = {
    r"but found another document": "found a second document, after ---, expected one",
    r"found unknown escape character '(.+)'": (
        r"found the escape \\\1 in double quotes; single quotes keep backslashes"
    ),
    r"expected escape sequence of .*": (
        "found an incomplete escape in double quotes; single quotes keep backslashes"
    ),
    r"found character '\\t' that cannot start any token": "found a tab, expected spaces",
    r"expected '<document start>', .*": "found more after the first value, expected `key: value`",
}


def _explained(problem: str) -> str:
    for pattern, text in _EXPLAINED.items():
        if match := re.fullmatch(pattern, problem):
            return printable(match.expand(text))
    return shortened(problem)


class _NotAcceptedError(yaml.MarkedYAMLError):
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
        raise _NotAcceptedError(None, None, problem, event.start_mark)


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
