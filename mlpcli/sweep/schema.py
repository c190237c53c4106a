"""The JSON Schema of a sweep's file, by which editors complete, explain and check it."""

from __future__ import annotations

from mlpcli.config.json_schema import (
    DRAFT,
    Schema,
    choice_rules,
    mapping,
    nested,
    of_key,
    of_keys,
)
from mlpcli.config.settings import SECTIONS, UNLEARNED
from mlpcli.sweep.plan import FILE_KEYS


def of_sweep() -> Schema:
    """Return the schema of a sweep's file."""
    keys = of_keys()
    varied = {key: own for key, own in keys.items() if key not in UNLEARNED | {"seed"}}
    rules = [rule for section in SECTIONS for rule in choice_rules(section, f"{section}.")]
    mappings = {
        "set": mapping({key: own for key, own in keys.items() if key != "name"}) | {"allOf": rules},
        "grid": mapping({key: _list_of(own) for key, own in varied.items()}),
        "random.keys": mapping({key: _drawn_from(own) for key, own in varied.items()}),
    }
    own = {
        key: mappings[key] | {"description": of.doc} if key in mappings else of_key(of)
        for key, of in FILE_KEYS.items()
    }
    own["seeds"] |= {"minItems": 1, "uniqueItems": True}
    root = nested(own, {"random": "values that are drawn, beside or instead of a grid"})
    root["properties"]["random"]["required"] = ["draws", "keys"]
    return {"$schema": DRAFT, "title": "A sweep of mlpcli"} | root | {"required": ["base"]}


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
    return {"anyOf": [values, mapping(ends) | {"required": ["low", "high"]}]} | about
