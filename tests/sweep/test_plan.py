"""A sweep's file: what it means, what is drawn, and every way in which it can be wrong."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from conftest import SWEEP
from hypothesis import given
from hypothesis import strategies as st

from mlpcli.config.settings import AdamWConfig, SGDConfig
from mlpcli.errors import ConfigError
from mlpcli.sweep import plan as sweeps
from mlpcli.sweep.plan import Sweep


def load(tmp_path: Path, text: str, *sets: str) -> Sweep:
    (tmp_path / "base.yaml").write_text("name: base\nseed: 7\ntraining: {epochs: 3}\n")
    path = tmp_path / "my sweep.yaml"
    path.write_text(text)
    return sweeps.load(path, sets)


RATES = "base: base.yaml\ngrid:\n  optimizer.learning_rate: [0.1, 2e-1]\n"
MOMENTA = "  optimizer.momentum: [0, 0.9]\n"
ONE_OF = "base: base.yaml\nrandom:\n  draws: 9\n  keys:\n    model.activation: [tanh, relu]\n"
RANGE = "base: base.yaml\nrandom:\n  draws: 9\n  keys:\n    {}: {}\n"


def test_a_grid_is_every_combination_with_every_seed(tmp_path: Path) -> None:
    sweep = load(tmp_path, f"{RATES}{MOMENTA}seeds: [3, 4, 5]\n")
    assert sweep.name == "my-sweep"
    assert sweep.keys == ("optimizer.learning_rate", "optimizer.momentum")
    found = [
        (one.config.optimizer.learning_rate, one.config.optimizer.momentum, one.config.seed)
        for one in sweep.trials
    ]
    assert found == [(r, m, s) for r in (0.1, 0.2) for m in (0, 0.9) for s in (3, 4, 5)]
    assert {one.config.training.epochs for one in sweep.trials} == {3}
    assert {one.config.name for one in sweep.trials} == {"trial"}


def test_set_in_the_file_comes_before_the_base_and_set_of_the_shell_before_both(
    tmp_path: Path,
) -> None:
    text = f"{RATES}set:\n  training.epochs: 4\n  data: {{val_size: 9}}\n"
    assert {one.config.training.epochs for one in load(tmp_path, text).trials} == {4}
    sweep = load(tmp_path, text, "training.epochs=5")
    assert {one.config.training.epochs for one in sweep.trials} == {5}
    assert {one.config.data.val_size for one in sweep.trials} == {9}
    assert {one.config.seed for one in sweep.trials} == {7}, "the base's own, where none is given"


def test_a_grid_beside_draws_tries_each_draw_with_every_combination(tmp_path: Path) -> None:
    text = RATES + RANGE.partition("\n")[2].format("model.hidden", "[[], [8], [8, 8]]")
    sweep = load(tmp_path, text.replace("draws: 9", "draws: 3") + "seeds: [0, 1]\n")
    assert len(sweep.trials) == 3 * 2 * 2
    assert len({str(one) for one in sweep.trials}) == 12
    assert {one.config.model.hidden for one in sweep.trials} == {(), (8,), (8, 8)}


OPTIMIZERS = "base: base.yaml\ngrid:\n  optimizer.name: [sgd, adamw]\n"


def test_an_option_is_varied_in_the_trials_whose_choice_has_it(tmp_path: Path) -> None:
    sweep = load(tmp_path, f"{OPTIMIZERS}{MOMENTA}  optimizer.beta1: [0.5, 0.8, 0.9]\n")
    assert sweep.keys == ("optimizer.name", "optimizer.momentum", "optimizer.beta1")
    assert [one.values for one in sweep.trials] == [
        {"optimizer.name": "sgd", "optimizer.momentum": 0},
        {"optimizer.name": "sgd", "optimizer.momentum": 0.9},
        {"optimizer.name": "adamw", "optimizer.beta1": 0.5},
        {"optimizer.name": "adamw", "optimizer.beta1": 0.8},
        {"optimizer.name": "adamw", "optimizer.beta1": 0.9},
    ]
    chosen = [one.config.optimizer for one in sweep.trials]
    assert chosen[1:3] == [SGDConfig(momentum=0.9), AdamWConfig(beta1=0.5)]


def test_draws_that_differ_in_options_of_another_choice_alone_are_one_trial(
    tmp_path: Path,
) -> None:
    text = RANGE.format("optimizer.name", "[sgd, adamw]") + MOMENTA.replace(" o", "   o")
    sweep = load(tmp_path, text.replace("draws: 9", "draws: 4"))
    assert sorted(str(one) for one in sweep.trials) == [
        "optimizer.name=adamw seed=7",
        "optimizer.name=sgd optimizer.momentum=0 seed=7",
        "optimizer.name=sgd optimizer.momentum=0.9 seed=7",
    ]


def test_what_is_set_counts_in_the_trials_whose_choice_has_it(tmp_path: Path) -> None:
    text = f"{OPTIMIZERS}set: {{optimizer: {{momentum: 0.9, learning_rate: 0.2}}}}\n"
    assert [one.config.optimizer for one in load(tmp_path, text, "optimizer.beta1=0.5").trials] == [
        SGDConfig(learning_rate=0.2, momentum=0.9),
        AdamWConfig(learning_rate=0.2, beta1=0.5),
    ]
    text = "base: base.yaml\nset: {optimizer.momentum: 0.9}\nseeds: [0]\n"
    (only,) = load(tmp_path, text, "optimizer.name=sgd").trials
    assert only.config.optimizer == SGDConfig(momentum=0.9)


def drawn(tmp_path: Path, key: str, options: str) -> list[float]:
    return [one.values[key] for one in load(tmp_path, RANGE.format(key, options)).trials]


def test_draws_are_the_same_each_time_and_others_with_another_seed(tmp_path: Path) -> None:
    options = "{low: 0.01, high: 1, log: true}"
    first = drawn(tmp_path, "optimizer.learning_rate", options)
    assert first == drawn(tmp_path, "optimizer.learning_rate", options)
    assert len(set(first)) == 9
    text = RANGE.format("optimizer.learning_rate", options) + "  seed: 1\n"
    assert first != [one.values["optimizer.learning_rate"] for one in load(tmp_path, text).trials]


def test_logarithmic_draws_are_even_by_magnitude(tmp_path: Path) -> None:
    text = RANGE.format("optimizer.weight_decay", "{low: 1e-8, high: 1, log: true}")
    sweep = load(tmp_path, text.replace("draws: 9", "draws: 2000"))
    values = [math.log10(one.values["optimizer.weight_decay"]) for one in sweep.trials]
    for low in range(-8, 0, 2):
        assert sum(low <= value < low + 2 for value in values) == pytest.approx(500, abs=80)


@given(
    st.lists(st.floats(1e-300, 1e300), min_size=2, max_size=2, unique=True).map(sorted),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_numbers_that_are_drawn_are_short_and_within_the_ends(
    tmp_path_factory: pytest.TempPathFactory, ends: list[float], log: bool, seed: int
) -> None:
    options = f"{{low: {ends[0]!r}, high: {ends[1]!r}, log: {str(log).lower()}}}"
    text = RANGE.format("optimizer.learning_rate", options) + f"  seed: {seed}\n"
    sweep = load(tmp_path_factory.mktemp("drawn"), text.replace("draws: 9", "draws: 1"))
    (value,) = (one.values["optimizer.learning_rate"] for one in sweep.trials)
    assert ends[0] <= value <= ends[1]
    assert value in ends or value == float(f"{value:.4g}")


@pytest.mark.parametrize("log", ["true", "false"])
def test_whole_numbers_are_drawn_whole_and_both_ends_are_among_them(
    tmp_path: Path, log: str
) -> None:
    found = drawn(tmp_path, "training.epochs", f"{{low: 1, high: 9, log: {log}}}")
    assert sorted(found) == list(range(1, 10))
    assert all(type(value) is int for value in found)


WRONG = [
    ("", "my sweep.yaml: empty; expected some of the keys base, set, grid, random, seeds"),
    ("base: base.yaml\n", "my sweep.yaml: nothing is varied"),
    ("seeds: [0]\n", "my sweep.yaml:1: base: found nothing, expected a string"),
    ("base: [1]\nseeds: [0]\n", ":1: base: found a list, expected a string"),
    ("base: none.yaml\nseeds: [0]\n", ":1: base: "),
    ("base: my sweep.yaml\nseeds: [0]\n", ":1: base: my sweep.yaml: circular `base:`"),
    ("base: base.yaml\ngird: {}\n", ":2: gird: unknown key; did you mean grid?"),
    ("base: base.yaml\nseeds: []\n", ":2: seeds: found [], expected whole numbers"),
    ("base: base.yaml\nseeds: [1, 1]\n", ":2: seeds: found [1, 1], expected whole numbers"),
    ("base: base.yaml\nseeds: [-1]\n", ":2: seeds: found -1, expected a number at least 0"),
    ("base: base.yaml\nseeds: 3\n", ":2: seeds: found 3, expected a list of whole numbers"),
    (RATES + RATES, ":4: base: set twice, first in line 1"),
    (RATES + "  optimizer.momentum: []\n", ":4: optimizer.momentum: found an empty list"),
    (RATES + "  optimizer.momentum: 0.9\n", ":4: optimizer.momentum: found 0.9, expected a list"),
    (RATES + "  optimizer.momentum: [1]\n", ":4: optimizer.momentum: found 1, expected a number"),
    (RATES + "  optimizer.momentum: [0, 0.0]\n", ":4: optimizer.momentum: found 0 twice"),
    (RATES + "  optimizer.momentun: [0]\n", "did you mean optimizer.momentum?"),
    (RATES + "  loss: [squared_eror]\n", ":4: loss: found squared_eror, expected one of"),
    (RATES + "  optimizer: [0]\n", ":4: optimizer: found a section, expected one of optimizer.nam"),
    (RATES + "  threads: [1, 2]\n", ":4: threads: changes nothing that is learned"),
    (RATES + "  name: [a, b]\n", ":4: name: changes nothing that is learned"),
    (RATES + "  seed: [1, 2]\n", ":4: seed: found as a key to vary, expected under seeds:"),
    (RATES + "set: {optimizer.learning_rate: 1}\n", ":4: optimizer.learning_rate: is varied"),
    (RATES + "set: {seed: 1}\nseeds: [0]\n", ":4: seed: is varied by the sweep"),
    (RATES + "set: {name: x}\n", ":4: name: trials are named by their sweep"),
    (RATES + "set: {optimizer.momentum: 0, optimizer: {momentum: 0}}\n", "momentum: set twice"),
    (RATES + "set: 3\n", ":4: set: found 3, expected keys as in optimizer.learning_rate"),
    (RATES + "set: {data.val_size: 0}\n", ":4: data.val_size: found 0, expected a validation spl"),
    (RATES + "random: {}\n", ":4: random.draws: found nothing, expected a whole number"),
    (RATES + "random: {draws: 2}\n", ":4: random.keys: found nothing, expected keys as in"),
    (
        RATES + "random: {draws: 0, keys: {}}\n",
        ":4: random.draws: found 0, expected a number at least 1",
    ),
    (RATES + "random: {darws: 0}\n", ":4: random.darws: unknown key; did you mean random.draws?"),
    (RATES + "random: {draws: 1, keys: {optimizer.learning_rate: [1]}}\n", "in grid and in random"),
    (ONE_OF, ":3: random.draws: found 9, expected at most 2"),
    (RANGE.format("model.activation", "{low: 1, high: 2}"), "found 1, expected one of sigmoid"),
    (RANGE.format("augment.flips", "{low: 1, high: 2}"), "found 1, expected true or false"),
    (RANGE.format("augment.flips", "{low: false, high: true}"), "expected a list, or two numbers"),
    (RANGE.format("model.hidden", "{low: [1], high: [2]}"), "expected a list, or two numbers"),
    (RANGE.format("training.patience", "{low: null, high: 2}"), "expected a list, or two numbers"),
    (RANGE.format("seed", "{low: 0, high: 2}"), "expected under seeds:"),
    (RANGE.format("training.epochs", "{low: 1}"), ":5: training.epochs: expected a list, or two"),
    (RANGE.format("training.epochs", "{low: 3, high: 3}"), "found 3 to 3, expected low below high"),
    (RANGE.format("training.epochs", "{low: 0, high: 3}"), "found 0, expected a number at least 1"),
    (RANGE.format("training.epochs", "{low: 1, high: 3.5}"), "found 3.5, expected a whole number"),
    (RANGE.format("augment.shift", "{low: 0, high: 1, log: true}"), "found 0.0, expected above 0"),
    (
        RANGE.format("augment.shift", "{low: 0, high: 1, log: 3}"),
        "shift.log: found 3, expected tru",
    ),
    (
        RANGE.format("augment.shift", "{lo: 0, high: 1}"),
        "shift.lo: unknown key; did you mean augment.shift.low",
    ),
    (
        RATES + "  optimizer.beta1: [0.5, 0.9]\n",
        ":4: optimizer.beta1: belongs to optimizer.name adamw, found sgd (default) "
        "(in the trial optimizer.learning_rate=0.1 optimizer.beta1=0.5)",
    ),
    (
        RATES + "set: {optimizer.beta1: 0.5}\n",
        ":4: optimizer.beta1: belongs to optimizer.name adamw, found sgd (default)",
    ),
    (
        OPTIMIZERS.replace(", adamw", "") + "  optimizer.beta1: [0.5, 0.9]\n",
        ":4: optimizer.beta1: belongs to optimizer.name adamw, which no trial has",
    ),
    (
        OPTIMIZERS.replace(", adamw", "") + "set: {optimizer.beta1: 0.5}\n",
        ":4: optimizer.beta1: belongs to optimizer.name adamw, which no trial has",
    ),
    (
        RATES + f"seeds: {list(range(5001))}\n",
        "my sweep.yaml: found 10,002 trials, expected at most 10,000",
    ),
    (
        RATES + "  optimizer.nesterov: [false, true]\n",
        ":4: optimizer.nesterov: needs optimizer.momentum above 0 "
        "(in the trial optimizer.learning_rate=0.1 optimizer.nesterov=true)",
    ),
]


@pytest.mark.parametrize(("text", "message"), WRONG, ids=range(len(WRONG)))
def test_what_is_not_understood_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert message in str(caught.value)
    assert str(tmp_path / "my sweep.yaml") in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer.learning_rate=1", "--set: optimizer.learning_rate: is varied by the sweep"),
        ("name=x", "--set: name: trials are named by their sweep"),
        ("sede=1", "--set: sede: unknown key; did you mean seed?"),
        ("data.val_size=0", "--set: data.val_size: found 0, expected a validation split"),
    ],
)
def test_a_wrong_set_says_so(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, RATES, text)
    assert message in str(caught.value)


def test_the_shipped_sweep_is_the_notes_network_with_three_seeds() -> None:
    assert SWEEP.read_text().startswith("# ")
    sweep = sweeps.load(SWEEP)
    assert sweep.keys == ("optimizer.learning_rate", "optimizer.momentum")
    assert {one.config.seed for one in sweep.trials} == {0, 1, 2}
    assert {one.config.model.hidden for one in sweep.trials} == {(512,)}
