"""Configurations: what a file means, and every way in which it can be wrong."""

from __future__ import annotations

import dataclasses
import json
import operator
import os
import threading
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from conftest import CONFIGS, SHIPPED
from faults.configs import WRONG
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from mlpcli.config import loading as config
from mlpcli.config import strict_yaml
from mlpcli.config.loading import (
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


@pytest.mark.parametrize(("text", "message"), WRONG, ids=range(len(WRONG)))
def test_what_is_not_understood_is_one_clear_line(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value).splitlines()) == 1


def test_ten_files_refine_one_another_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "0.yaml").write_text("seed: 7\n")
    for i in range(1, 12):
        (tmp_path / f"{i}.yaml").write_text(f"base: {i - 1}.yaml\n")
    assert config.load(tmp_path / "10.yaml").seed == 7
    with pytest.raises(ConfigError, match=r"1\.yaml:1: base: found over 10 files"):
        config.load(tmp_path / "11.yaml")


def test_a_shell_may_pass_a_pipe_but_a_file_may_not_name_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ConfigError, match=r"pipe\.yaml: cannot be read: not a regular file"):
        load(tmp_path, "base: pipe.yaml\n")
    writer = threading.Thread(target=(tmp_path / "pipe.yaml").write_text, args=("seed: 5\n",))
    writer.start()
    assert config.load(tmp_path / "pipe.yaml").seed == 5
    writer.join()


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
        ("x" * 9999, "--set " + "x" * 59 + "…: expected KEY=VALUE"),
        ("model.hidden=[9999, 9999]", "--set: model.hidden: found 130,796,919 weights, expected"),
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
    model=st.builds(ModelConfig, hidden=st.lists(st.integers(1, 999), max_size=9).map(tuple)),
    loss=one_of(Config, "loss"),
    optimizer=st.builds(OptimizerConfig, learning_rate=st.floats(1e-300, 1e300)),
    schedule=st.builds(ScheduleConfig, step_factor=st.floats(0, 1, exclude_min=True)),
    training=st.builds(TrainingConfig, patience=st.none() | st.integers(1, 99)),
)


@settings(deadline=None)
@given(configs)
def test_the_resolved_file_reads_back_to_the_same(before: Config) -> None:
    text = config.to_yaml(before)
    found = strict_yaml.read_text(Config, text, "resolved")
    assert config.build(found) == before
    assert config.from_dict(config.to_dict(before), "saved") == before


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(configs, st.sets(st.sampled_from(list(strict_yaml.dotted_keys(Config)))))
def test_what_is_shown_reads_back_to_the_same(
    tmp_path: Path, wanted: Config, keys: set[str]
) -> None:
    pairs = [(key, operator.attrgetter(key)(wanted)) for key in sorted(keys)]
    sets = [f"{key}={json.dumps(value)}" for key, value in pairs]
    try:
        values = config.resolve(CONFIGS / "best.yaml", sets)
    except ConfigError:  # two keys disagree
        reject()
    for key in keys:
        assert values[key].origin == "--set"
    shown = tmp_path / "shown.yaml"
    shown.write_text(config.to_commented_yaml(values), encoding="utf-8")
    assert config.load(shown) == config.load(CONFIGS / "best.yaml", sets)


def test_every_value_says_where_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a").mkdir()
    Path("b").mkdir()
    Path("b/deep.yaml").write_text("threads: 3\nmodel: {activation: relu}\n")
    Path("a/base.yaml").write_text(
        "# a comment\nbase: ../b/deep.yaml\nseed: 1\nloss: squared_error"
    )
    Path("a/x.yaml").write_text("base: base.yaml\n\ndata:\n  val_size: 7\nseed: 2\n")
    values = config.resolve("a/x.yaml", ["data.val_seed=5"])
    assert list(values) == list(strict_yaml.dotted_keys(Config))
    found = {key: (value.value, value.origin) for key, value in values.items()}
    assert found == found | {
        "name": ("x", "the file's own name"),
        "seed": (2, "a/x.yaml:5"),
        "threads": (3, "b/deep.yaml:1"),
        "data.val_size": (7, "a/x.yaml:4"),
        "data.val_seed": (5, "--set"),
        "model.activation": ("relu", "b/deep.yaml:2"),
        "loss": ("squared_error", "a/base.yaml:4"),
        "training.epochs": (20, "default"),
    }
    whole = config.resolve(tmp_path / "a/x.yaml")
    assert whole["loss"].origin == f"{tmp_path}/a/base.yaml:4"
    Path("a/link.yaml").symlink_to("../b/deep.yaml")
    Path("a/y.yaml").write_text("base: link.yaml")
    assert config.resolve("a/y.yaml")["threads"].origin == "a/link.yaml:1"


def test_a_base_behind_a_link_names_its_own_base_from_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "deep.yaml").write_text("base: deeper.yaml")
    (tmp_path / "b" / "deeper.yaml").write_text("seed: 7")
    (tmp_path / "deep.yaml").symlink_to("b/deep.yaml")
    assert load(tmp_path, "base: deep.yaml").seed == 7


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


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
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
