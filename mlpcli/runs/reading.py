"""Reads the files of a run's folder, which anyone may have written: with limits, and by type.

Whatever is not understood is a CheckpointError of one line that names the file. Imports no NumPy.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from mlpcli.errors import CheckpointError, in_one_line
from mlpcli.files import open_regular, reading
from mlpcli.quantities import ACCURACY, COUNT, FINITE, SECONDS, optional

MAX_JSON_BYTES = 2**20
MAX_LEVELS = 20  # of lists and objects within one another
MAX_DIGITS = 40  # of a whole number: the state of a random generator has 128 bits
MAX_ROWS = 200_000  # of metrics.csv that are held in memory
MAX_LINE_BYTES = 1000

# The columns of metrics.csv, and what each holds.
METRICS = {
    "epoch": COUNT,
    "train/loss": FINITE,
    "train/accuracy": ACCURACY,
    "val/loss": optional(FINITE),
    "val/accuracy": optional(ACCURACY),
    "learning_rate": FINITE,
    "images_per_second": FINITE,
    "seconds": SECONDS,
}
HEADER = ",".join(METRICS).encode() + b"\n"

# The numbers of summary.json, beside its paths and its configuration.
SUMMARY = {
    "epochs": COUNT,
    "best_epoch": COUNT,
    "val_accuracy": optional(ACCURACY),
    "val_loss": optional(FINITE),
    "train_loss": optional(FINITE),
    "seconds": SECONDS,
    "images_per_second": FINITE,
}

Row = dict[str, float | None]

_NUMBER = re.compile(r"\d{1,400}(\.\d{1,400})?(e[+-]?\d{1,4})?", re.ASCII)


def read_bytes(path: Path, most: int, *, cut: bool = False) -> bytes:
    """Return what a regular file holds; of more than `most` bytes, if `cut`, the first of them."""
    with reading(path, CheckpointError), open_regular(path) as file:
        content = file.read(most if cut else most + 1)
    if len(content) > most:
        raise CheckpointError(f"{path}: found over {most:,} bytes")
    return content


def parse_json(text: str | bytes) -> dict[str, Any]:
    """Return the object that JSON text holds: its numbers finite and of bounded length, its levels
    few; raises ValueError.
    """
    try:
        content = json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError(f"found over {MAX_LEVELS} levels") from None
    _require_flat(content, MAX_LEVELS)
    if not isinstance(content, dict):
        raise ValueError(f"found {type(content).__name__}, expected an object")
    return content


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"found a number of {len(digits):,} digits")
    return int(digits)


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"found {text[:40]}, expected a finite number")
    return number


def _require_flat(value: object, levels: int) -> None:
    if not isinstance(value, (dict, list)):
        return
    if not levels:
        raise ValueError(f"found over {MAX_LEVELS} levels")
    for inner in value.values() if isinstance(value, dict) else value:
        _require_flat(inner, levels - 1)


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds."""
    content = read_bytes(path, MAX_JSON_BYTES)
    try:
        return parse_json(content)
    except ValueError as error:
        raise CheckpointError(f"{path}: not valid: {in_one_line(error)}") from None


def read_summary(path: Path) -> dict[str, Any]:
    """Return what a finished run's summary.json holds, its numbers of the types of SUMMARY.

    Its `config` is a mapping that is yet to be read by `config.loading.from_dict`.
    """
    found = read_json(path)
    for name, quantity in SUMMARY.items():
        if name not in found or not quantity.holds(found[name]):
            value = json.dumps(found.get(name))[:40]
            raise CheckpointError(f"{path}: {name}: found {value}, expected {quantity}")
    if not isinstance(found.get("config"), dict):
        raise CheckpointError(f"{path}: config: expected a configuration")
    return found


def lines(file: IO[bytes]) -> Iterator[tuple[bytes, Row | None]]:
    """Yield each line of a metrics.csv after its header, with its row; None: not understood.

    Epochs count upward. A last line without an end is one that was being written: it is left out.
    A line that is too long is yielded in pieces.
    """
    expected = HEADER
    epoch = 0.0
    while line := file.readline(MAX_LINE_BYTES):
        if len(line) < MAX_LINE_BYTES and not line.endswith(b"\n"):
            return
        row = None if expected else _row(line)
        if row is not None and (row["epoch"] or 0.0) > epoch:
            epoch = row["epoch"] or 0.0
            yield line, row
        elif line != expected:
            yield line, None
        expected = b""


def _row(line: bytes) -> Row | None:
    """Return the numbers of a complete line, or None where they are not those of a row."""
    cells = line.decode("latin-1").removesuffix("\n").split(",")
    if len(cells) != len(METRICS):
        return None
    row: Row = {}
    for cell, (name, quantity) in zip(cells, METRICS.items(), strict=True):
        if cell and not _NUMBER.fullmatch(cell):
            return None
        try:
            row[name] = quantity.kind(cell) if cell else None
        except ValueError:  # a fraction where a whole number is expected
            return None
        if not quantity.holds(row[name]):
            return None
    return row


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a metrics.csv, by the names METRICS; none where there is no file yet."""
    rows: list[Row] = []
    with reading(path, CheckpointError):
        if not path.exists():
            return rows
        file = open_regular(path)
    with file, reading(path, CheckpointError):
        for line, row in lines(file):
            if row is None:
                found = repr(line.decode(errors="replace").rstrip("\n"))[:60]
                expected = f"expected a row of {len(METRICS)} numbers"
                raise CheckpointError(f"{path}: found {found}, {expected}")
            rows.append(row)
            if len(rows) > MAX_ROWS:
                raise CheckpointError(f"{path}: found over {MAX_ROWS:,} rows")
    return rows
