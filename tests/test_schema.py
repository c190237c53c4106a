"""The JSON Schema: valid, up to date, and of one mind with the loader as far as it can be."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from conftest import CONFIGS, SHIPPED, Command
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpcli import config, schema, strict_yaml
from mlpcli.config import Config
from mlpcli.errors import ConfigError

SCHEMA = schema.of_config()
JUDGE = jsonschema.Draft7Validator(SCHEMA)
KEYS = list(strict_yaml.dotted_keys(Config))

PLAIN = [
    (r"null|~|", lambda text: None),
    (r"true|false", lambda text: text == "true"),
    (r"[-+]?[0-9]+", int),
    (r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", float),
]


def json_of(text: str) -> Any:
    """Return what an editor sees of a file: plain scalars as YAML 1.2 reads them."""

    def convert(node: Any) -> Any:
        if isinstance(node, yaml.MappingNode):
            return {convert(key): convert(value) for key, value in node.value}
        if isinstance(node, yaml.SequenceNode):
            return [convert(item) for item in node.value]
        for pattern, parse in [] if node.style else PLAIN:
            if re.fullmatch(pattern, node.value):
                return parse(node.value)
        return node.value

    return convert(yaml.compose(text, yaml.SafeLoader))


def test_the_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == jsonschema.Draft7Validator.META_SCHEMA["$schema"]


def test_the_shipped_schema_is_what_the_command_prints(mlpcli: Command) -> None:
    done = mlpcli("config", "schema")
    assert done.returncode == 0, done.stderr
    assert (CONFIGS / "schema.json").read_text() == done.stdout, (
        "run: mlpcli config schema > configs/schema.json"
    )


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configurations_name_the_schema_and_fit_it(path: Path) -> None:
    first, second, *_ = path.read_text().splitlines()
    assert first == "# yaml-language-server: $schema=schema.json"
    assert second.startswith("# ")
    JUDGE.validate(json_of(path.read_text()))


@pytest.mark.parametrize("key", KEYS)
def test_every_key_has_a_meaning_and_a_default_that_fits(key: str) -> None:
    own = schema.of_key(key)
    assert own["description"]
    jsonschema.validate(own["default"], own, jsonschema.Draft7Validator)


def test_a_key_that_does_not_exist_has_no_schema() -> None:
    with pytest.raises(KeyError):
        schema.of_key("optimizer.momentom")


def test_what_is_resolved_fits(tmp_path: Path) -> None:
    JUDGE.validate(config.to_dict(Config(name="x")))
    values = config.resolve(CONFIGS / "best.yaml")
    JUDGE.validate(json_of(config.to_commented_yaml(values)))


@pytest.mark.parametrize(
    "text",
    [
        "- 1\n",
        "seed\n",
        "sede: 1\n",
        "learning_rate: 0.1\n",
        "optimizer: sgd\n",
        "optimizer: {momentom: 0.9}\n",
        "optimizer: {learning_rate: 0}\n",
        "optimizer: {learning_rate: '1e-3'}\n",
        "optimizer: {learning_rate: 1e-3x}\n",
        "optimizer: {momentum: 1}\n",
        "optimizer: {momentum: -0.1}\n",
        "optimizer: {name: sdg}\n",
        "optimizer: {nesterov: yes}\n",
        "optimizer: {nesterov: 1}\n",
        "training: {epochs: 0}\n",
        "training: {epochs: 1.5}\n",
        "training: {epochs: null}\n",
        "training: {patience: no}\n",
        "training: {epochs: '3'}\n",
        "training: {epochs: 99999999999999999999}\n",
        "features: {components: 3073}\n",
        "data:\n",
        "data: {name: 3}\n",
        "data: {dir: [a]}\n",
        "base: 3\n",
        "model: {hidden: 512}\n",
        "model: {hidden: [512, 0]}\n",
        "model: {hidden: [[512]]}\n",
        "model: {hidden: null}\n",
        f"model: {{hidden: [{'1, ' * 101}]}}\n",
        f"name: {'x' * 61}\n",
        f"data: {{dir: {'x' * 4097}}}\n",
    ],
)
def test_what_is_wrong_is_wrong_to_the_loader_and_to_the_schema(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ConfigError):
        config.load(tmp_path / "x.yaml")
    assert not JUDGE.is_valid(json_of(text))


values = (
    st.none()
    | st.booleans()
    | st.integers(-3, 4000)
    | st.integers()
    # To JSON 1.0 is a whole number, to the loader it is not.
    | st.floats(-2, 20).filter(lambda number: not number.is_integer())
    | st.sampled_from(["sgd", "adamw", "pca", "cosine", "float64", "relu", "true", "1", ""])
    | st.lists(st.integers(-1, 600), max_size=4)
    | st.lists(st.booleans(), max_size=2)
    | st.just({})
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*KEYS, "seed.x", "sede", "data.nome", "base"]), values))
def test_loader_and_schema_are_of_one_mind(document: dict[str, Any]) -> None:
    nested: dict[str, Any] = {}
    for key, value in document.items():
        section, _, name = key.rpartition(".")
        target = nested.setdefault(section, {}) if section else nested
        if isinstance(target, dict):
            target[name] = value
    text = json.dumps(nested)
    assert json_of(text) == nested
    try:
        strict_yaml.read_text(Config, text, "x.yaml")
        error = None
    except ConfigError as refused:
        error = str(refused)
    assert JUDGE.is_valid(nested) == (error is None), error
