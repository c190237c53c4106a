"""The JSON Schema: valid, up to date, and of one mind with the loader as far as it can be."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from conftest import CONFIGS, SHIPPED, SWEEP, Command
from hypothesis import given
from hypothesis import strategies as st

from mlpcli.config import json_schema as schema
from mlpcli.config import loading as config
from mlpcli.config.settings import FILE_KEYS, KEYS, Config
from mlpcli.config.strict_yaml import Found, Reader
from mlpcli.errors import ConfigError
from mlpcli.sweep import plan as sweeps
from mlpcli.sweep.schema import of_sweep

SCHEMA = schema.of_config()
JUDGE = jsonschema.Draft7Validator(SCHEMA)
CHOICES = [[(key, name) for name in KEYS[key].names] for key in KEYS if key.endswith(".name")]

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


@pytest.mark.parametrize(
    ("options", "file"), [((), "schema.json"), (("--sweep",), "sweep-schema.json")]
)
def test_the_shipped_schemas_are_what_the_command_prints(
    mlpcli: Command, options: tuple[str, ...], file: str
) -> None:
    done = mlpcli("config", "schema", *options)
    assert done.returncode == 0, done.stderr
    assert (CONFIGS / file).read_text() == done.stdout, (
        f"run: mlpcli config schema {' '.join(options)} > configs/{file}"
    )


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configurations_name_the_schema_and_fit_it(path: Path) -> None:
    first, second, *_ = path.read_text().splitlines()
    assert first == "# yaml-language-server: $schema=schema.json"
    assert second.startswith("# ")
    JUDGE.validate(json_of(path.read_text()))


@pytest.mark.parametrize("key", KEYS)
def test_every_key_has_a_meaning_and_a_default_that_fits(key: str) -> None:
    own = schema.of_keys()[key]
    assert own["description"]
    jsonschema.validate(own["default"], own, jsonschema.Draft7Validator)


def test_a_key_that_does_not_exist_has_no_schema() -> None:
    assert list(schema.of_keys()) == list(KEYS)


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
        "features: {name: pca, components: 3073}\n",
        "features: {components: 7}\n",
        "features: {name: pixel, epsilon: 1}\n",
        "optimizer: {beta1: 0.5}\n",
        "optimizer: {name: adamw, momentum: 0.9}\n",
        "schedule: {name: cosine, step_every: 3}\n",
        "data: {name: synthetic, dir: a}\n",
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
    | st.builds(dict)
)


@given(st.dictionaries(st.sampled_from([*KEYS, "seed.x", "sede", "data.nome", "base"]), values))
def test_loader_and_schema_are_of_one_mind(document: dict[str, Any]) -> None:
    assert_one_mind(document)


@given(st.sampled_from([key for (key, _), *_ in CHOICES]), st.data())
def test_loader_and_schema_are_of_one_mind_on_choices(chooser: str, data: st.DataObject) -> None:
    given = {
        key: st.sampled_from(own.names or [own.default])
        for key, own in KEYS.items()
        if key.startswith(chooser.removesuffix("name"))
    }
    base = {"base": st.just("base.yaml")}
    assert_one_mind(data.draw(st.fixed_dictionaries({}, optional=base | given)))


def assert_one_mind(document: dict[str, Any]) -> None:
    nested: dict[str, Any] = {}
    for key, value in document.items():
        section, _, name = key.rpartition(".")
        target = nested.setdefault(section, {}) if section else nested
        if isinstance(target, dict):
            target[name] = value
    text = json.dumps(nested)
    assert json_of(text) == nested
    try:
        found = Reader("x.yaml", FILE_KEYS).read(text)
        error = None if fits_some_base(found) else "an option of another choice"
    except ConfigError as refused:
        error = str(refused)
    assert JUDGE.is_valid(nested) == (error is None), error


def fits_some_base(found: dict[str, Found]) -> bool:
    """Whether the loader takes what a file says, above the defaults or, if it has one, some base.

    Two options of different choices that fit no base together may pass: only the loader sees that.
    """
    if not found.pop("base", None):
        return merges({}, found)
    named = {key: value for key, value in found.items() if key.endswith(".name")}
    bases = [{key: Found(name, "base.yaml")} for choices in CHOICES for key, name in choices]
    return all(any(merges(base, named | {key: found[key]}) for base in bases) for key in found)


def merges(*layers: dict[str, Found]) -> bool:
    try:
        config.merge(*layers)
    except ConfigError:
        return False
    return True


SWEEP_JUDGE = jsonschema.Draft7Validator(of_sweep())


def sweep_is_read(text: str, folder: Path) -> bool:
    (folder / "note.yaml").write_text((CONFIGS / "note.yaml").read_text())
    (folder / "sweep.yaml").write_text(text)
    try:
        sweeps.load(folder / "sweep.yaml")
    except ConfigError:
        return False
    return True


def test_the_shipped_sweep_names_its_schema_and_fits_it() -> None:
    jsonschema.Draft7Validator.check_schema(SWEEP_JUDGE.schema)
    first, second, *_ = SWEEP.read_text().splitlines()
    assert first == "# yaml-language-server: $schema=sweep-schema.json"
    assert second.startswith("# ")
    SWEEP_JUDGE.validate(json_of(SWEEP.read_text()))


@pytest.mark.parametrize(
    ("rest", "fits"),
    [
        ("seeds: [0, 1]", True),
        ("seeds: []", False),
        ("seeds: [1, 1]", False),
        ("grid: {optimizer.momentum: [0, 0.9]}", True),
        ("grid: {optimizer.momentum: [0, 1]}", False),
        ("grid: {optimizer.momentum: []}", False),
        ("grid: {optimizer.momentum: 0.9}", False),
        ("grid: {optimizer.momentom: [0.9]}", False),
        ("grid: {optimizer: [0.9]}", False),
        ("grid: {seed: [0, 1]}", False),
        ("grid: {threads: [1, 2]}", False),
        ("grid: {model.hidden: [[512], [], [256, 256]]}", True),
        ("grid: {model.activation: [relu, silu]}", False),
        ("grid: {training.patience: [null, 3]}", True),
        ("random: {draws: 3, keys: {optimizer.momentum: {low: 0, high: 0.9}}}", True),
        ("random: {draws: 3, keys: {optimizer.momentum: {low: 0}}}", False),
        ("random: {draws: 2, keys: {model.activation: [relu, tanh]}}", True),
        ("random: {draws: 2, keys: {model.activation: {low: relu, high: tanh}}}", False),
        ("random: {keys: {model.activation: [relu, tanh]}}", False),
        ("random: {draws: 0, keys: {model.activation: [relu, tanh]}}", False),
        ("set: {training.epochs: 3}\nseeds: [0]", True),
        ("set: {name: x}\nseeds: [0]", False),
        ("set: {optimizer.name: adamw, optimizer.beta1: 0.5}\nseeds: [0]", True),
        ("set: {optimizer.name: adamw, optimizer.momentum: 0.5}\nseeds: [0]", False),
        ("grid: {optimizer.name: [sgd, adamw], optimizer.beta1: [0.5, 0.9]}", True),
        ("sets: {training.epochs: 3}\nseeds: [0]", False),
    ],
)
def test_schema_and_loader_agree_on_sweeps(rest: str, fits: bool, tmp_path: Path) -> None:
    text = f"base: note.yaml\n{rest}\n"
    assert sweep_is_read(text, tmp_path) is fits
    assert SWEEP_JUDGE.is_valid(json_of(text)) is fits
