"""Faults and attacks, one row per kind: `make torture` tries all cases, the tests a few of each."""

from faults import calls, checkpoints, data, files, hosts, runs, text  # noqa: F401 - they enter their rows into the table
from faults.rows import ROWS, Outcome, Row, attempt

__all__ = ["ROWS", "Outcome", "Row", "attempt"]
