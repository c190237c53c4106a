"""The files of a run, of which each may be anything: read by type and within limits, or refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mlpcli.errors import CheckpointError
from mlpcli.runs import reading
from mlpcli.runs.reading import HEADER, METRICS, parse_json, read_json, read_rows, read_summary

SUMMARY = {
    "run_dir": "runs/note-1",
    "config": {"name": "note"},
    "epochs": 3,
    "best_epoch": 2,
    "val_accuracy": 0.5,
    "val_loss": 1.5,
    "train_loss": 1,
    "seconds": 2.5,
    "images_per_second": 1e5,
    "checkpoint": "runs/note-1/checkpoints/best.npz",
}


def refused(path: Path, read: Callable[[Path], object], message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < len(str(path)) + 200


def test_a_summary_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    for changes in ({}, {"val_accuracy": None, "val_loss": None}, {"more": [{}]}):
        path.write_text(json.dumps(SUMMARY | changes))
        assert read_summary(path) == SUMMARY | changes


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("val_accuracy", "x", 'val_accuracy: found "x", expected a number from 0 to 1 or none'),
        ("val_accuracy", 7, "val_accuracy: found 7, expected a number from 0 to 1 or none"),
        ("val_accuracy", True, "val_accuracy: found true"),
        ("val_accuracy", -0.5, "val_accuracy: found -0.5"),
        ("epochs", None, "epochs: found null, expected a whole number from 0 to 1e"),
        ("epochs", 1.5, "epochs: found 1.5, expected a whole number"),
        ("epochs", 10**39, "epochs: found 1000"),
        ("epochs", 10**400, "not valid: found a number of 401 digits"),
        ("seconds", float("nan"), "not valid: found NaN, expected a finite number"),
        ("seconds", 1e300, "seconds: found 1e"),
        ("val_loss", float("-inf"), "not valid: found -Infinity"),
        ("train_loss", {"a": "b" * 100}, "train_loss: found "),
        ("config", [], "config: expected a configuration"),
    ],
)
def test_a_summary_of_other_values_is_refused(
    tmp_path: Path, name: str, value: object, message: str
) -> None:
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(SUMMARY | {name: value}))
    refused(path, read_summary, message)
    path.write_text(json.dumps({key: SUMMARY[key] for key in SUMMARY if key != name}))
    refused(path, read_summary, f"{name}: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not valid: Expecting value"),
        ("[]", "found list, expected an object"),
        ("null", "found NoneType, expected an object"),
        ('{"a": 1e999}', "found 1e999, expected a finite number"),
        ('{"a": ' * 21 + "1" + "}" * 21, "found over 20 levels"),
        ('{"a": ' + "[" * 100_000, "found over 20 levels"),
        ("\xff", "not valid: 'utf-8' codec"),
        ('{"a": "' + "x" * 2**20 + '"}', "found over 1,048,576 bytes"),
    ],
    ids=range(8),
)
def test_json_of_another_kind_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "environment.json"
    path.write_text(content, encoding="latin-1")
    refused(path, read_json, message)


def test_json_has_at_most_20_levels_and_40_digits() -> None:
    assert parse_json('{"a": ' * 20 + "1" + "}" * 20)
    assert parse_json(f'{{"a": {"9" * 40}}}') == {"a": 10**40 - 1}


ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pipe": (os.mkfifo, "not a regular file"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    "a folder": (Path.mkdir, "cannot be read"),
    "a large file": (
        lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_RDWR), 2**40),
        "found ",
    ),
}


@pytest.mark.parametrize("read", [read_json, read_summary, read_rows], ids=lambda r: r.__name__)
@pytest.mark.parametrize("name", ODD)
def test_what_is_no_small_file_is_refused(
    tmp_path: Path, name: str, read: Callable[[Path], object]
) -> None:
    make, message = ODD[name]
    make(tmp_path / "file")
    refused(tmp_path / "file", read, message)


def row(*values: object) -> bytes:
    return ",".join(map(str, values)).encode() + b"\n"


FIRST = row(1, 2.5, 0.1, 2.25, 0.2, 1e-05, 1e5, 0.5)


def test_rows_are_numbers_and_the_last_may_still_be_written(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    assert read_rows(path) == []
    for content in (b"", HEADER, HEADER[:5], HEADER + b"1,0."):
        path.write_bytes(content)
        assert read_rows(path) == []
    path.write_bytes(HEADER + FIRST + row(2, 1, 1, "", "", 0, 0, 0) + FIRST[:-1])
    first, second = read_rows(path)
    assert list(first.items())[:6] == list(zip(METRICS, (1, 2.5, 0.1, 2.25, 0.2, 1e-05)))  # noqa: B905
    assert second["val/loss"] is second["val/accuracy"] is None


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"# a comment\n",
        FIRST[:-1] + b"\r\n",
        row("", 0, 0, 0, 0, 0, 0, 0),
        row(0, 0, 0, 0, 0, 0, 0, 0),
        row(1.0, 0, 0, 0, 0, 0, 0, 0),
        row(10**400, 0, 0, 0, 0, 0, 0, 0),
        row(1, "", "", "", "", "", "", ""),
        row(1, 0, 0, 0, 7, 0, 0, 0),
        row(1, "nan", 0, 0, 0, 0, 0, 0),
        row(1, "1e999", 0, 0, 0, 0, 0, 0),
        row(1, "1_0", 0, 0, 0, 0, 0, 0),
        row(1, 0, 0, 0, 0, 0, 0, 1e308),
        row(1, 0, 0, 0, 0, 0, 0),
        FIRST + FIRST,
        HEADER,
        b"x" * 5000,
        bytes(5000),
    ],
    ids=range(18),
)
def test_a_line_that_is_no_row_is_refused(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "metrics.csv"
    path.write_bytes(HEADER + line)
    refused(path, read_rows, "expected a row of 8 numbers")


def test_a_file_with_another_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_bytes(b"epoch,loss\n1,2\n")
    refused(path, read_rows, "found 'epoch,loss', expected a row")


def test_rows_in_memory_are_of_a_limited_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_ROWS", 3)
    path = tmp_path / "metrics.csv"
    rows = [row(epoch, 0, 0, "", "", 0, 0, 0) for epoch in range(1, 5)]
    path.write_bytes(HEADER + b"".join(rows[:3]))
    assert len(read_rows(path)) == 3
    path.write_bytes(HEADER + b"".join(rows))
    refused(path, read_rows, "found over 3 rows")
