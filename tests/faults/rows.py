"""A row of the table of faults: a stream of cases, and how many of them are to be tried."""

from __future__ import annotations

import faulthandler
import itertools
import multiprocessing
import resource
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

Case = tuple[str, Callable[[], object]]  # its name, and a call that raises where the tool failed
Cases = Callable[[int], Iterator[Case]]

WORKERS = 2
SECONDS = 5  # that one file may take to be read or refused
MEMORY = 2**30  # bytes that it may take


class SkippedRowError(Exception):
    """The row cannot be tried on this machine."""


@dataclass(frozen=True)
class Row:
    """A fault or an attack.

    `cases(seed)` yields what to try: crafted cases first, and then, if any, random ones for ever.
    Where `confined`, each is a picklable call, made in a process that has the memory and the time
    which one file may take.
    """

    number: int
    fault: str
    required: int
    few: int  # cases that the test suite tries
    whole: bool  # all that there are, though fewer would do
    confined: bool
    cases: Cases


@dataclass
class Outcome:
    """What trying a row came to."""

    cases: int = 0
    failures: list[str] = field(default_factory=list)
    skipped: str = ""


ROWS: dict[int, Row] = {}


def row(
    number: int,
    fault: str,
    *,
    cases: int,
    few: int | None = None,
    whole: bool = False,
    confined: bool = False,
) -> Callable[[Cases], Cases]:
    """Enter a function that yields cases into the table."""

    def enter(function: Cases) -> Cases:
        ROWS[number] = Row(number, fault, cases, few or cases, whole, confined, function)
        return function

    return enter


def attempt(row: Row, count: int | None, seed: int) -> Outcome:
    """Try this many cases of a row, or all of them, and return which failed."""
    outcome = Outcome()
    with _pool(row) as pool:
        cases = itertools.islice(row.cases(seed), count)
        try:
            while batch := list(itertools.islice(cases, 50)):
                futures = [(name, pool.submit(_timed, row.confined, call)) for name, call in batch]
                for name, future in futures:
                    outcome.cases += 1
                    try:
                        future.result()
                    except Exception as error:
                        outcome.failures.append(f"{name}: {type(error).__name__}: {error}")
        except SkippedRowError as reason:
            outcome.skipped = str(reason)
        except BrokenExecutor as error:  # a case took its process with it: no more can be tried
            outcome.failures.append(str(error))
    return outcome


def _pool(row: Row) -> Executor:
    if not row.confined:
        return ThreadPoolExecutor(WORKERS)
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(WORKERS, context, initializer=_confine)


def _confine() -> None:
    """Leave this process as much memory as a file may take, beside what it has already."""
    warnings.simplefilter("error")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))


def _timed(confined: bool, call: Callable[[], object]) -> None:
    start = time.monotonic()
    if not confined:
        call()
        return
    faulthandler.dump_traceback_later(10 * SECONDS, exit=True)  # where it hangs
    call()
    faulthandler.cancel_dump_traceback_later()
    if time.monotonic() - start > SECONDS:
        raise TimeoutError(f"took over {SECONDS} s")
