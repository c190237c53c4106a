"""Configurations: what a file means, and every way in which it can be wrong."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CONFIGS, SHIPPED
from faults.configs import WRONG
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from mlpcli.config import loading as config
from mlpcli.config.settings import (
    KEYS,
    AdamWConfig,
    AugmentConfig,
    Cifar10Config,
    Config,
    ConstantConfig,
    CosineConfig,
    ModelConfig,
    PCAConfig,
    PixelsConfig,
    SGDConfig,
    StepConfig,
    SyntheticConfig,
    TrainingConfig,
)
from mlpcli.config.strict_yaml import Reader
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
        ("data.dir", "'/010'", "/010"),
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
        ("=5", "--set =5: expected KEY=VALUE"),
        ("optimizer=", "--set: optimizer: found nothing, expected the keys name, learning_rate"),
        ("optimizer.beta1=0.5", "beta1: belongs to optimizer.name adamw, found sgd (default)"),
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


def one_of(key: str) -> st.SearchStrategy[str]:
    return st.sampled_from(KEYS[key].names)


held_out = st.integers(1, 10**6)
rates = st.floats(1e-300, 1e300)
configs = st.builds(
    Config,
    name=st.from_regex(r"[a-z][a-z0-9._-]{0,8}", fullmatch=True),
    seed=st.integers(0, 2**32),
    threads=st.none() | st.integers(1, 64),
    data=st.builds(
        Cifar10Config,
        dir=st.none() | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20),
        val_size=held_out,
    )
    | st.builds(SyntheticConfig, val_size=held_out),
    features=st.builds(PCAConfig, components=st.integers(1, 3072)),
    augment=st.builds(AugmentConfig, flips=st.booleans(), shift=st.floats(0, 16)),
    model=st.builds(ModelConfig, hidden=st.lists(st.integers(1, 999), max_size=9).map(tuple)),
    loss=one_of("loss"),
    optimizer=st.builds(SGDConfig, learning_rate=rates, momentum=st.floats(0, 0.99))
    | st.builds(AdamWConfig, learning_rate=rates, beta1=st.floats(0, 0.99)),
    schedule=st.builds(CosineConfig)
    | st.builds(StepConfig, step_factor=st.floats(0, 1, exclude_min=True)),
    training=st.builds(TrainingConfig, patience=st.none() | st.integers(1, 99)),
)


@given(configs)
def test_the_resolved_file_reads_back_to_the_same(before: Config) -> None:
    text = config.to_yaml(before)
    found = Reader("resolved", KEYS).read(text)
    assert config.build(found) == before
    assert config.from_dict(config.to_dict(before), "saved") == before


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(configs, st.sets(st.sampled_from(list(KEYS))))
def test_what_is_shown_reads_back_to_the_same(
    tmp_path: Path, wanted: Config, keys: set[str]
) -> None:
    pairs = {key: value for key, value in config.values(wanted).items() if key in keys}
    sets = [f"{key}={json.dumps(value)}" for key, value in pairs.items()]
    try:
        values = config.resolve(CONFIGS / "best.yaml", sets)
    except ConfigError:  # two keys disagree
        reject()
    for key in pairs:
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
    assert list(values) == list(config.values(Config()))
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
    ("key", "table"),
    [
        ("model.activation", ACTIVATIONS),
        ("model.initializer", INITIALIZERS),
        ("loss", LOSSES),
        ("optimizer.name", OPTIMIZERS),
        ("schedule.name", SCHEDULES),
    ],
)
def test_the_names_in_a_configuration_are_those_of_the_mathematics(
    key: str, table: dict[str, object]
) -> None:
    assert list(KEYS[key].names) == list(table)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configurations_load_and_say_what_they_are_for(path: Path) -> None:
    assert path.read_text().startswith("# ")
    assert config.load(path).training.batch_size == 128


def test_the_notes_configuration_is_the_notes_network() -> None:
    note = config.load(CONFIGS / "note.yaml")
    assert (note.model.hidden, note.model.activation) == ((512,), "sigmoid")
    assert note.loss == "sigmoid_cross_entropy"
    assert (note.optimizer.name, note.optimizer.momentum) == ("sgd", 0)


def test_another_choice_drops_the_options_below_that_it_does_not_have(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("optimizer: {learning_rate: 1, momentum: 0.9}\n")
    (tmp_path / "mid.yaml").write_text("base: base.yaml\noptimizer: {name: adamw, beta1: 0.5}\n")
    text = "base: mid.yaml\noptimizer: {weight_decay: 0.1}\n"
    adamw = AdamWConfig(learning_rate=1, weight_decay=0.1, beta1=0.5)
    assert load(tmp_path, text).optimizer == adamw
    assert load(tmp_path, text, "optimizer.name=adamw").optimizer == adamw, "nothing new is chosen"
    sets = ("optimizer.nesterov=true", "optimizer.name=sgd", "optimizer.momentum=0.5")
    sgd = SGDConfig(learning_rate=1, weight_decay=0.1, momentum=0.5, nesterov=True)
    assert load(tmp_path, text, *sets).optimizer == sgd


def test_an_option_of_another_choice_is_refused_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("seed: 1\noptimizer: {name: adamw}\n")
    message = r"x\.yaml:2: optimizer\.momentum: belongs to optimizer\.name sgd, "
    message += r"found adamw \(\S+base\.yaml:2\)$"
    for sets in ((), ("optimizer.name=sgd",)):
        with pytest.raises(ConfigError, match=message):
            load(tmp_path, "base: base.yaml\noptimizer: {momentum: 0.9}\n", *sets)


def test_options_are_what_the_chosen_optimizer_and_schedule_take() -> None:
    for optimizer in (SGDConfig(), AdamWConfig()):
        zeros = np.zeros(3)
        built = OPTIMIZERS[optimizer.name](zeros, zeros, zeros, **optimizer.options())
        assert vars(built).items() >= optimizer.options().items()
    for schedule in (ConstantConfig(), CosineConfig(), StepConfig()):
        built = SCHEDULES[schedule.name](epochs=1, **schedule.options())
        assert vars(built).items() >= schedule.options().items()


def test_a_mapping_says_what_a_file_and_set_say(tmp_path: Path) -> None:
    base = tmp_path / "quick.yaml"
    base.write_text("training: {epochs: 2, batch_size: 7}")
    mapping = {
        "base": base,
        "optimizer": {"name": "adamw", "learning_rate": np.float32(0.25)},
        "model.hidden": np.array([8, 4]),
        "training.epochs": np.int64(3),
        "data.dir": Path("data"),
    }
    sets = (
        "optimizer={name: adamw, learning_rate: 0.25}",
        "model.hidden=[8, 4]",
        "training.epochs=3",
        "data.dir=data",
    )
    made = config.from_mapping(mapping, "config")
    assert made == config.load(base, sets)
    assert (made.name, made.training.batch_size) == ("quick", 7)
    assert config.from_mapping({}, "config") == Config(name="run")
    assert config.from_mapping(config.to_dict(made), "config") == made


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"seed": 1.0}, r"settings: seed: found 1\.0, expected a whole number"),
        ({"training": {"epoch": 1}}, "settings: training.epoch: unknown key; did you mean"),
        ({"seed": {1, 2}}, "settings: seed: found set, expected a number, text, list or mapping"),
        ({"optimizer.learning_rate": math.nan}, "learning_rate: found NaN, expected a finite"),
        ({"base": "nowhere.yaml"}, r"nowhere\.yaml: no such configuration file"),
        ({"optimizer.beta1": 0.5}, "settings: optimizer.beta1: belongs to optimizer.name adamw"),
        ({3: 4}, "settings: 3: unknown key"),
    ],
)
def test_a_wrong_mapping_is_one_clear_line(mapping: dict[Any, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        config.from_mapping(mapping, "settings")
    assert "\n" not in str(raised.value)


def test_differences_name_the_keys_that_changed() -> None:
    changed = dataclasses.replace(Config(), seed=3, model=ModelConfig(hidden=()))
    assert config.differences(Config(), changed) == {
        "seed": (0, 3),
        "model.hidden": ((512,), ()),
    }
    changed = dataclasses.replace(Config(), features=PCAConfig(), data=SyntheticConfig())
    assert config.differences(Config(), changed) == {
        "data.name": ("cifar10", "synthetic"),
        "features.name": ("channel", "pca"),
        "features.components": (None, 256),
        "features.epsilon": (None, 3e-4),
    }


def test_two_configurations_learn_the_same_if_only_unlearned_keys_differ() -> None:
    data = Cifar10Config(dir="elsewhere")
    assert config.learned(Config(name="x", threads=3, data=data)) == config.learned(Config())
    for features in (PixelsConfig("pixel"), PCAConfig()):
        assert config.learned(Config(features=features)) != config.learned(Config())


def test_limits_are_the_largest_that_are_accepted(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("seed: 1\n#".ljust(64 * 1024, "x"))
    assert config.load(file).seed == 1
    file.write_text("seed: 1\n#".ljust(64 * 1024 + 1, "x"))
    with pytest.raises(ConfigError, match="over 64 KiB"):
        config.load(file)
    # 3072 · 222 + 222 · 69376 + 69376 · 10 = 2²⁴ weights
    settings = {"model.hidden": [222, 69376]}
    assert config.from_mapping(settings, "x").model.hidden == (222, 69376)
    with pytest.raises(ConfigError, match="16,777,448 weights, expected at most 16,777,216"):
        config.from_mapping({"model.hidden": [222, 69377]}, "x")


def test_keys_are_shown_without_their_sections_where_that_is_clear() -> None:
    keys = ["optimizer.name", "optimizer.momentum", "data.val_seed", "seed", "schedule.name"]
    short = ["optimizer.name", "momentum", "val_seed", "seed", "schedule.name"]
    assert config.short_names(keys) == short
