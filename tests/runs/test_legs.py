"""The legs of a training, and the commands that repeat what they came to."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from mlpcli.config.settings import Config, TrainingConfig
from mlpcli.runs.legs import Leg, commands, parse, spans

FILE = Path("runs/a-1/config.yaml")


def leg(
    from_epoch: int, epochs: int, *, extended: bool = False, patience: int | None = None
) -> Leg:
    return Leg(from_epoch, epochs, patience, extended, "mlpcli train a")


def repeated(*legs: Leg) -> list[str]:
    """Return the ends of the commands for a run that is now configured as its last leg."""
    last = legs[-1]
    training = TrainingConfig(epochs=last.epochs, patience=last.patience)
    found = commands(legs, Config(name="a", training=training), FILE)
    assert found[0].startswith("mlpcli train runs/a-1/config.yaml")
    return [
        each.removeprefix("mlpcli train ")
        .replace("runs/a-1/config.yaml", "A")
        .replace("--resume again/a-1 --extend", "B")
        .replace("training.", "")
        for each in found
    ]


def test_what_is_written_is_read_back() -> None:
    legs = [leg(0, 3), leg(3, 6, extended=True, patience=2)]
    assert parse([dataclasses.asdict(each) for each in legs]) == legs


@pytest.mark.parametrize(
    "changes",
    [{"from_epoch": -1}, {"epochs": "3"}, {"patience": 1.5}, {"extended": 0}, {"command": None}],
    ids=str,
)
def test_other_values_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not a leg of a training"):
        parse([dataclasses.asdict(leg(0, 3)) | changes])
    for content in (3, [3], [{}], [{"more": 1}]):
        with pytest.raises(ValueError, match="leg"):
            parse(content)


def test_a_leg_ends_where_the_next_begins() -> None:
    found = spans([leg(0, 9), leg(5, 9), leg(4, 9)], 9)
    assert [(each["from_epoch"], each["to_epoch"]) for each in found] == [(0, 5), (5, 4), (4, 9)]
    assert spans([], 9) == []


def test_a_run_of_before_there_were_legs_takes_one_command() -> None:
    assert commands([], Config(name="a"), FILE) == ["mlpcli train runs/a-1/config.yaml"]


def test_resumptions_need_no_command() -> None:
    assert repeated(leg(0, 9)) == ["A"]
    assert repeated(leg(0, 9), leg(2, 9), leg(2, 9), leg(9, 9)) == ["A"]
    assert repeated(leg(0, 9), leg(9, 12)) == ["A"], "its schedule is the same for any epochs"


def test_each_extension_is_a_command() -> None:
    first, second = leg(3, 6, extended=True), leg(6, 9, extended=True)
    expected = ["A --runs-dir again epochs=3", "B epochs=6", "B epochs=9"]
    assert repeated(leg(0, 3), first, second) == expected
    assert repeated(leg(0, 3), leg(1, 3), first, leg(5, 6), second, leg(7, 9)) == expected
    assert repeated(leg(0, 3), first, first, second, second) == expected, "after a crash at once"


def test_what_was_taken_back_is_not_repeated() -> None:
    extended = leg(3, 6, extended=True)
    assert repeated(leg(0, 3), extended, leg(2, 3)) == ["A"]
    other = leg(3, 8, extended=True)
    assert repeated(leg(0, 3), extended, other) == ["A --runs-dir again epochs=3", "B epochs=8"]


def test_a_patience_that_has_changed_is_part_of_the_commands() -> None:
    extended = leg(2, 6, extended=True)
    assert repeated(leg(0, 3, patience=1), extended) == [
        "A --runs-dir again epochs=3 patience=1",
        "B epochs=6 patience=null",
    ]
