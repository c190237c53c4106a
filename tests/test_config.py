"""Configurations: what a file means, and every way in which it can be wrong."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from conftest import CONFIGS
from hypothesis import given
from hypothesis import strategies as st

from mlpcli import config
from mlpcli.config import (
    AugmentConfig,
    Config,
    DataConfig,
    FeaturesConfig,
    ModelConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainingConfig,
)
from mlpcli.errors import ConfigError
from mlpcli.nn.activations import ACTIVATIONS
from mlpcli.nn.initializers import INITIALIZERS
from mlpcli.nn.losses import LOSSES
from mlpcli.nn.optimizers import OPTIMIZERS
from mlpcli.nn.schedules import SCHEDULES


def load(tmp_path: Path, text: str, *sets: str) -> Config:
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    return config.load(path, sets)


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    loaded = load(tmp_path, "optimizer: {learning_rate: 1e-3}\nmodel:\n  hidden: [64, 32]\n")
    assert loaded.optimizer.learning_rate == 0.001
    assert loaded.model.hidden == (64, 32)
    assert loaded.training == TrainingConfig()
    assert loaded.name == "x"


def test_set_comes_before_the_file_and_the_file_before_its_base(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        "seed: 1\nthreads: 1\ntraining: {epochs: 7, batch_size: 9}\n"
    )
    loaded = load(tmp_path, "base: base.yaml\nseed: 2\nthreads: 2\n", "seed=3")
    assert (loaded.seed, loaded.threads, loaded.training.epochs) == (3, 2, 7)
    assert loaded.training.batch_size == 9


def test_bases_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("base: x.yaml\n")
    with pytest.raises(ConfigError, match="circle"):
        load(tmp_path, "base: base.yaml\n")


@pytest.mark.parametrize(
    ("field", "value", "parsed"),
    [
        ("optimizer.learning_rate", "1e-3", 0.001),
        ("optimizer.learning_rate", "5", 5.0),
        ("optimizer.learning_rate", ".5", 0.5),
        ("model.hidden", "[]", ()),
        ("model.hidden", "[512, 256]", (512, 256)),
        ("training.patience", "null", None),
        ("training.patience", "3", 3),
        ("data.dir", "/tmp/data", "/tmp/data"),
        ("data.dir", "'010'", "010"),
        ("augment.flips", "true", True),
        ("loss", "softmax_cross_entropy", "softmax_cross_entropy"),
        ("optimizer.momentum", "0", 0.0),
    ],
)
def test_values_are_read_by_the_type_of_their_key(
    tmp_path: Path, field: str, value: str, parsed: object
) -> None:
    loaded: object = load(tmp_path, "seed: 0\n", f"{field}={value}")
    for part in field.split("."):
        loaded = getattr(loaded, part)
    assert loaded == parsed
    assert type(loaded) is type(parsed)


WRONG = [
    ("", "empty"),
    ("# nothing but a comment\n", "empty"),
    ("- 1\n", "x.yaml:1: found a list, expected the keys"),
    ("seed: 1\nsede: 2\n", "x.yaml:2: sede: unknown key; did you mean seed?"),
    ("seed: 1\nseed: 2\n", "x.yaml:2: seed: set twice, first in line 1"),
    ("learning_rate: 1\n", "did you mean optimizer.learning_rate?"),
    ("optimizer:\n  momentom: 1\n", "x.yaml:2: optimizer.momentom: unknown key; did you mean"),
    ("optimizer: sgd\n", "x.yaml:1: optimizer: found sgd, expected the keys name,"),
    ("training: {epochs: 1.5}\n", "found 1.5, expected a whole number"),
    ("training: {epochs: 010}\n", "found 010, expected a whole number"),
    ("training: {epochs: 12:30}\n", "found 12:30, expected a whole number"),
    ("training: {epochs: true}\n", "found true, expected a whole number"),
    ("training: {epochs: '3'}\n", "found the string '3', expected a whole number"),
    ("training: {epochs: 0}\n", "found 0, expected a number at least 1"),
    ("training: {epochs: -1}\n", "found -1, expected a number at least 1"),
    ("training: {epochs: null}\n", "found null, expected a whole number"),
    ("training: {epochs: 99999999999999999999}\n", "expected a whole number"),
    ("optimizer: {learning_rate: .nan}\n", "found .nan, expected a finite number"),
    ("optimizer: {learning_rate: .inf}\n", "expected a finite number"),
    ("optimizer: {learning_rate: 1e999}\n", "expected a finite number"),
    ("optimizer: {learning_rate: 1_000}\n", "expected a finite number"),
    ("optimizer: {learning_rate: 1e-3x}\n", "found 1e-3x, expected a finite number"),
    ("optimizer: {learning_rate: [1]}\n", "found a list, expected a finite number"),
    ("optimizer: {learning_rate: 0}\n", "found 0, expected a number above 0"),
    ("optimizer: {momentum: 1}\n", "expected a number at least 0 and below 1"),
    ("optimizer: {nesterov: yes, momentum: 0.9}\n", "found yes, expected true or false"),
    ("optimizer: {nesterov: 1, momentum: 0.9}\n", "found 1, expected true or false"),
    ("optimizer: {nesterov: true}\n", "optimizer.nesterov: needs optimizer.momentum above 0"),
    ("optimizer: {name: sdg}\n", "expected one of sgd, adamw; did you mean sgd?"),
    ("data: {dir: no}\n", "data.dir: found no, expected a string, in quotes or null"),
    ("data: {dir: 12:30}\n", "in quotes"),
    ("data: {dir: 010}\n", "in quotes"),
    ("data: {val_size: 0}\ntraining: {patience: 2}\n", "x.yaml:2: training.patience: needs"),
    (
        "augment: {flips: true, rotation: 5}\n",
        "augment.rotation: needs features.name pca",
    ),
    ("schedule: {warmup_epochs: 20}\n", "expected fewer than the 20 epochs"),
    ("model: {hidden: 512}\n", "found 512, expected a list of whole numbers"),
    ("model: {hidden: [512, 0]}\n", "found 0, expected a number at least 1"),
    ("model: {hidden: [512, a]}\n", "expected a whole number"),
    ("name: ../escape\n", "expected letters, digits"),
    ("seed: &a 1\nthreads: *a\n", "anchors and aliases are not accepted"),
    ("seed: !!python/object/apply:os.system [ls]\n", "tags are not accepted"),
    ("seed: !!int 3\n", "tags are not accepted"),
    ("seed: [1\n", "not valid YAML"),
    ("seed: 1\n---\nseed: 2\n", "not valid YAML"),
    ("seed: \x07\n", "not valid YAML"),
    ("seed: {? [1]: 2}\n", "expected"),
    ("? [1]\n: 2\n", "found a list as a key"),
    ("a: " + "[" * 500 + "]" * 500 + "\n", "nested over"),
    ("#" + "x" * 70_000 + "\n", "over 64 KiB"),
    ("base: 3\n", "base: found 3, expected a string"),
    ("base: nowhere.yaml\n", "nowhere.yaml: no such configuration file"),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_what_is_not_understood_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed", "expected KEY=VALUE"),
        ("sede=1", "--set: sede: unknown key; did you mean seed?"),
        ("optimizer.lerning_rate=1", "did you mean optimizer.learning_rate?"),
        ("optimiser.learning_rate=1", "did you mean optimizer.learning_rate?"),
        ("seed.x=1", "seed.x: unknown key"),
        ("seed=", "found nothing, expected a whole number"),
        ("seed=1.5", "--set: seed: found 1.5, expected a whole number"),
        ("optimizer=sgd", "found sgd, expected the keys"),
        ("base=other.yaml", "base: unknown key"),
    ],
)
def test_a_wrong_set_says_so(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "seed: 0\n", text)
    assert message in str(caught.value)


def test_files_that_cannot_be_read_are_errors_of_configuration(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    for path, message in [
        (tmp_path, "cannot be read"),
        (tmp_path / "none.yaml", "no such configuration file"),
        (tmp_path / "latin.yaml", "not UTF-8"),
    ]:
        with pytest.raises(ConfigError, match=message):
            config.load(path)


def one_of(cls: type, name: str) -> st.SearchStrategy[str]:
    return st.sampled_from(get_args(get_type_hints(cls)[name]))


configs = st.builds(
    Config,
    name=st.from_regex(r"[a-z][a-z0-9._-]{0,8}", fullmatch=True),
    seed=st.integers(0, 2**32),
    threads=st.none() | st.integers(1, 64),
    data=st.builds(
        DataConfig,
        name=one_of(DataConfig, "name"),
        dir=st.none() | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20),
        val_size=st.integers(1, 10**6),
    ),
    features=st.builds(FeaturesConfig, name=st.just("pca"), components=st.integers(1, 3072)),
    augment=st.builds(AugmentConfig, flips=st.booleans(), shift=st.floats(0, 16)),
    model=st.builds(ModelConfig, hidden=st.lists(st.integers(1, 5000)).map(tuple)),
    loss=one_of(Config, "loss"),
    optimizer=st.builds(OptimizerConfig, learning_rate=st.floats(1e-300, 1e300)),
    schedule=st.builds(ScheduleConfig, step_factor=st.floats(0, 1, exclude_min=True)),
    training=st.builds(TrainingConfig, patience=st.none() | st.integers(1, 99)),
)


@given(configs)
def test_the_resolved_file_reads_back_to_the_same(before: Config) -> None:
    text = config.to_yaml(before)
    found = config.strict_yaml.read_text(Config, text, "resolved")
    assert config.build(found) == before
    assert config.from_dict(config.to_dict(before), "saved") == before


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_no_text_does_more_than_raise_an_error_of_configuration(text: str) -> None:
    try:
        found = config.strict_yaml.read_text(Config, text, "fuzz")
        config.build(found)
    except ConfigError:
        pass


@pytest.mark.parametrize(
    ("cls", "name", "table"),
    [
        (ModelConfig, "activation", ACTIVATIONS),
        (ModelConfig, "initializer", INITIALIZERS),
        (Config, "loss", LOSSES),
        (OptimizerConfig, "name", OPTIMIZERS),
        (ScheduleConfig, "name", SCHEDULES),
    ],
)
def test_the_names_in_a_configuration_are_those_of_the_mathematics(
    cls: type, name: str, table: dict[str, object]
) -> None:
    assert list(get_args(get_type_hints(cls)[name])) == list(table)


def test_every_key_says_what_it_means() -> None:
    sections = [hint for hint in get_type_hints(Config).values() if dataclasses.is_dataclass(hint)]
    assert len(sections) == 7
    for section in (Config, *sections):
        for item in dataclasses.fields(section):
            assert dataclasses.is_dataclass(item.default) or item.metadata["doc"], item.name


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configurations_load_and_say_what_they_are_for(path: Path) -> None:
    assert path.read_text().startswith("# ")
    assert config.load(path).training.batch_size == 128


def test_the_notes_configuration_is_the_notes_network() -> None:
    note = config.load(CONFIGS / "note.yaml")
    assert (note.model.hidden, note.model.activation) == ((512,), "sigmoid")
    assert note.loss == "sigmoid_cross_entropy"
    assert (note.optimizer.name, note.optimizer.momentum) == ("sgd", 0)


def test_differences_name_the_keys_that_changed() -> None:
    changed = dataclasses.replace(Config(), seed=3, model=ModelConfig(hidden=()))
    assert config.differences(Config(), changed) == {
        "seed": (0, 3),
        "model.hidden": ((512,), ()),
    }
