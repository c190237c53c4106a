"""Tables for spreadsheets, in which no text is a formula. Imports no NumPy."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

from mlpcli.errors import printable

FORMULA = ("=", "+", "-", "@")  # what a spreadsheet's formula begins with


def write_csv(file: TextIO, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a header and the rows: None as an empty cell, text without control characters."""
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)


def _cell(value: Any) -> Any:
    """Put a `'` before text that a spreadsheet would run, as a folder's name `=cmd|...`."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    if not text.startswith(FORMULA):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text
