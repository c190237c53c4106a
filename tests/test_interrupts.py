"""Requests to stop, made by real signals."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from mlpcli.interrupts import SIGNALS, StopRequest, stop_on_ctrl_c, stop_on_signal

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


def test_a_second_ctrl_c_is_python_s_own_and_the_first_where_nothing_can_be_saved() -> None:
    with pytest.raises(KeyboardInterrupt), stop_on_ctrl_c():
        signal.raise_signal(signal.SIGINT)
    with stop_on_ctrl_c() as stop:
        stop.can_save = True
        signal.raise_signal(signal.SIGINT)
        assert stop.asked() == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_the_program_and_a_thread_without_one_are_left_alone() -> None:
    numbers: list[int] = []

    def handler(number: int, frame: object) -> None:
        numbers.append(number)

    def asked() -> int | None:
        with stop_on_ctrl_c() as stop:
            stop.can_save = True
            signal.raise_signal(signal.SIGINT)
            return stop.asked()

    previous = signal.signal(signal.SIGINT, handler)
    try:
        assert asked() is None
        with ThreadPoolExecutor() as threads:
            assert threads.submit(asked).result() is None
    finally:
        signal.signal(signal.SIGINT, previous)
    assert numbers == [signal.SIGINT, signal.SIGINT]
