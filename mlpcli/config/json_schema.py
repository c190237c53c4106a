"""The JSON Schema of a configuration or a sweep, by which editors complete, explain and check it.

It is draft-07, the newest that the YAML language server takes whole. It knows keys, types, names
and bounds; where two keys disagree only the loader can tell, since a `base:` may set one of them.
"""

from __future__ import annotations

import dataclasses
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from mlpcli.config.loading import MAX_LAYERS, MAX_NAME, UNLEARNED, Config
from mlpcli.config.strict_yaml import MAX_TEXT, dotted_keys
from mlpcli.sweep import plan as sweeps

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


def of_sweep() -> Schema:
    """Return the schema of a sweep's file."""
    keys = of_keys()
    varied = {key: own for key, own in keys.items() if key not in UNLEARNED | {"seed"}}
    root = of_section(
        sweeps.File,
        set=_mapping({key: own for key, own in keys.items() if key != "name"}),
        grid=_mapping({key: _list_of(own) for key, own in varied.items()}),
        keys=_mapping({key: _drawn_from(own) for key, own in varied.items()}),
    )
    root["properties"]["random"]["required"] = ["draws", "keys"]
    root["properties"]["seeds"] |= {"minItems": 1, "uniqueItems": True}
    return {"$schema": DRAFT, "title": "A sweep of mlpcli"} | root | {"required": ["base"]}


def _mapping(properties: dict[str, Schema]) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _list_of(own: Schema) -> Schema:
    """Return the schema of some values of a key."""
    item = {name: value for name, value in own.items() if name not in ("default", "description")}
    about = {"description": own["description"]}
    return {"type": "array", "minItems": 1, "uniqueItems": True, "items": item} | about


def _drawn_from(own: Schema) -> Schema:
    """Return the schema of what a key is drawn from: some values, or the ends of a range."""
    values = _list_of(own)
    about = {"description": values.pop("description")}
    if own["type"] not in ("number", "integer"):
        return values | about
    ends = {"low": values["items"], "high": values["items"], "log": {"type": "boolean"}}
    return {"anyOf": [values, _mapping(ends) | {"required": ["low", "high"]}]} | about


def of_keys() -> dict[str, Schema]:
    """Return the schema of each key's value, by dotted key, as `optimizer.momentum`."""
    root = of_config()
    return {key: _within(root, key) for key in dotted_keys(Config)}


def _within(schema: Schema, key: str) -> Schema:
    for name in key.split("."):
        schema = schema["properties"][name]
    return schema


def of_section(cls: type, **given: Schema) -> Schema:
    """Return the schema of a mapping that stands for a dataclass; some of its keys are `given`."""
    hints = get_type_hints(cls)
    properties = {}
    for item in dataclasses.fields(cls):
        hint = hints[item.name]
        if item.name in given:
            properties[item.name] = given[item.name] | {"description": item.metadata["doc"]}
        elif dataclasses.is_dataclass(hint):
            properties[item.name] = of_section(hint, **given)  # type: ignore[arg-type]
        else:
            properties[item.name] = _of_field(item, hint)
    return _mapping(properties) | {"description": cls.__doc__}


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
