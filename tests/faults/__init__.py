"""Faults and attacks, one row per kind: `make torture` tries all cases, the tests a few of each."""

from faults import (  # noqa: F401 - they enter their rows into the table
    calls,
    checkpoints,
    data,
    files,
    hosts,
    legs,
    places,
    runs,
    surroundings,
    sweeps,
    text,
)
from faults.rows import ROWS, Outcome, Row, attempt

__all__ = ["ROWS", "Outcome", "Row", "attempt"]
