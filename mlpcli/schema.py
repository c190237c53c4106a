"""The JSON Schema of a configuration, by which editors complete, explain and check it.

It is draft-07, the newest that the YAML language server takes whole. It knows keys, types, names
and bounds; where two keys disagree only the loader can tell, since a `base:` may set one of them.
"""

from __future__ import annotations

import dataclasses
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from mlpcli.config import MAX_LAYERS, MAX_NAME, Config
from mlpcli.strict_yaml import MAX_TEXT, dotted_keys

Schema = dict[str, Any]

DRAFT = "http://json-schema.org/draft-07/schema#"
MAX_INTEGER = 10**18 - 1  # what strict_yaml reads as a whole number
BASE = "a file that this one refines, by its path from here"

_BOUNDS = {
    "at least": "minimum",
    "above": "exclusiveMinimum",
    "at most": "maximum",
    "below": "exclusiveMaximum",
}


def of_config() -> Schema:
    """Return the schema of a whole configuration file."""
    root = of_section(Config)
    root["properties"]["name"]["maxLength"] = MAX_NAME
    root["properties"]["model"]["properties"]["hidden"]["maxItems"] = MAX_LAYERS
    base = {"type": "string", "maxLength": MAX_TEXT, "description": BASE}
    root["properties"] = {"base": base} | root["properties"]
    return {"$schema": DRAFT, "title": "A configuration of mlpcli"} | root


def of_keys() -> dict[str, Schema]:
    """Return the schema of each key's value, by dotted key, as `optimizer.momentum`."""
    root = of_config()
    return {key: _within(root, key) for key in dotted_keys(Config)}


def of_key(key: str) -> Schema:
    """Return the schema of one key's value; raises KeyError where there is no such key."""
    return of_keys()[key]


def _within(schema: Schema, key: str) -> Schema:
    for name in key.split("."):
        schema = schema["properties"][name]
    return schema


def of_section(cls: type) -> Schema:
    """Return the schema of a mapping that stands for a dataclass."""
    hints = get_type_hints(cls)
    return {
        "type": "object",
        "description": cls.__doc__,
        "additionalProperties": False,
        "properties": {
            item.name: of_section(hints[item.name])
            if dataclasses.is_dataclass(hints[item.name])
            else _of_field(item, hints[item.name])
            for item in dataclasses.fields(cls)
        },
    }


def _of_field(item: dataclasses.Field[Any], hint: Any) -> Schema:
    bounds = {_BOUNDS[k]: v for k, v in item.metadata["bounds"].items() if v is not None}
    default = list(item.default) if isinstance(item.default, tuple) else item.default
    return _of_type(hint, bounds) | {"default": default, "description": item.metadata["doc"]}


def _of_type(hint: Any, bounds: Schema) -> Schema:
    if get_origin(hint) is UnionType:  # X | None
        (arm,) = (arm for arm in get_args(hint) if arm is not NoneType)
        inner = _of_type(arm, bounds)
        return inner | {"type": [inner["type"], "null"]}
    if get_origin(hint) is tuple:
        return {"type": "array", "items": _of_type(get_args(hint)[0], bounds)}
    if get_origin(hint) is Literal:
        return {"type": "string", "enum": list(get_args(hint))}
    plain: dict[Any, Schema] = {
        bool: {"type": "boolean"},
        int: {"type": "integer", "maximum": MAX_INTEGER},
        float: {"type": "number"},
        str: {"type": "string", "maxLength": MAX_TEXT},
    }
    return plain[hint] | bounds
