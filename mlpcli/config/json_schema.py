"""The JSON Schema of a configuration, by which editors complete, explain and check it.

It is draft-07, the newest that the YAML language server supports in full. It knows keys, types,
names, bounds and the options of each choice. Where else two keys disagree only the loader can tell,
since a `base:` may set one of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from mlpcli.config.settings import (
    FILE_KEYS,
    KEYS,
    MAX_LAYERS,
    MAX_NAME,
    MAX_TEXT,
    SECTIONS,
    Config,
    Key,
)

Schema = dict[str, Any]

DRAFT = "http://json-schema.org/draft-07/schema#"
MAX_INTEGER = 10**18 - 1  # what strict_yaml reads as a whole number

_PLAIN: dict[type, Schema] = {
    bool: {"type": "boolean"},
    int: {"type": "integer", "maximum": MAX_INTEGER},
    float: {"type": "number"},
    str: {"type": "string", "maxLength": MAX_TEXT},
}


def of_config() -> Schema:
    """Return the schema of a whole configuration file."""
    docs = {item.name: item.metadata["doc"] for item in dataclasses.fields(Config)}
    root = nested(of_keys(FILE_KEYS), docs)
    of_default = []
    for section, choices in SECTIONS.items():
        if "" in choices:
            continue
        root["properties"][section]["allOf"] = choice_rules(section)
        # The default counts where the file names no choice, and no base that may name one.
        unnamed = {"properties": {section: {"not": {"required": ["name"]}}}}
        refused = _options_of_others(section, KEYS[f"{section}.name"].default)
        if refused:
            of_default.append(
                {
                    "if": {"not": {"required": ["base"]}} | unnamed,
                    "then": {"properties": {section: {"properties": refused}}},
                }
            )
    return {"$schema": DRAFT, "title": "A configuration of mlpcli"} | root | {"allOf": of_default}


def of_keys(keys: Mapping[str, Key] = KEYS) -> dict[str, Schema]:
    """Return the schema of each key's value, by dotted key, as `optimizer.momentum`."""
    schemas = {name: of_key(key) for name, key in keys.items()}
    schemas["name"]["maxLength"] = MAX_NAME
    schemas["model.hidden"]["maxItems"] = MAX_LAYERS
    return schemas


def of_key(key: Key) -> Schema:
    """Return the schema of a key's value."""
    value = {"type": "string", "enum": list(key.names)} if key.names else _PLAIN[key.kind]
    value = value | key.bounds.schema()
    if key.is_list:
        value = {"type": "array", "items": value}
    if key.or_null:
        value = value | {"type": [value["type"], "null"]}
    if key.default is not None or key.or_null:
        value = value | {"default": list(key.default) if key.is_list else key.default}
    return value | {"description": key.description}


def choice_rules(section: str, prefix: str = "") -> list[Schema]:
    """Return rules that refuse options of another choice than the one named, if one is.

    `prefix` stands before the names of the keys, as in `optimizer.momentum`.
    """
    return [
        {
            "if": {
                "properties": {f"{prefix}name": {"const": choice}},
                "required": [f"{prefix}name"],
            },
            "then": {"properties": refused},
        }
        for choice in SECTIONS[section]
        if (refused := _options_of_others(section, choice, prefix))
    ]


def _options_of_others(section: str, choice: str, prefix: str = "") -> Schema:
    """Return the schema false for each option that a choice does not have."""
    return {
        prefix + key.removeprefix(f"{section}."): False
        for key, own in KEYS.items()
        if key.startswith(f"{section}.") and own.choices and choice not in own.choices
    }


def nested(keys: Mapping[str, Schema], docs: Mapping[str, str]) -> Schema:
    """Return the schema of a file with these dotted keys; `docs` say what its sections are."""
    root = mapping({})
    for dotted, own in keys.items():
        section, _, name = dotted.rpartition(".")
        properties = root["properties"]
        if section:
            empty = mapping({}) | {"description": docs[section]}
            properties = properties.setdefault(section, empty)["properties"]
        properties[name] = own
    return root


def mapping(properties: Mapping[str, Schema]) -> Schema:
    """Return the schema of a mapping with these keys and no others."""
    return {"type": "object", "additionalProperties": False, "properties": dict(properties)}
