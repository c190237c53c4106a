"""Requests to stop, made by real signals."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from mlpcli.interrupts import SIGNALS, StopRequest, stop_on_signal

TWICE = """
import signal, sys
from mlpcli.interrupts import stop_on_signal
with stop_on_signal() as stop:
    stop.can_save = sys.argv[1] == "True"
    signal.raise_signal(signal.SIGTERM)
    print("saving", flush=True)
    signal.raise_signal(signal.SIGINT)
    print("not reached", flush=True)
"""


def test_a_request_is_made_without_a_signal() -> None:
    stop = StopRequest()
    assert stop.asked() is None
    stop.request(signal.SIGTERM)
    assert stop.asked() == signal.SIGTERM


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_makes_a_request_and_handlers_are_restored(number: signal.Signals) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with stop_on_signal() as stop:
        stop.can_save = True
        assert stop.asked() is None
        signal.raise_signal(number)
        assert stop.asked() == number
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize(
    ("can_save", "code", "stdout", "stderr"),
    [(True, 130, "saving\n", ""), (False, 143, "", "error: interrupted before the first step\n")],
)
def test_the_second_signal_ends_at_once_and_the_first_where_nothing_can_be_saved(
    can_save: bool, code: int, stdout: str, stderr: str
) -> None:
    command = [sys.executable, "-c", TWICE, str(can_save)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, stdout, stderr)
