"""Requests to stop, made by real signals."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from mlpcli.interrupts import SIGNALS, StopRequest, stop_in_program, stop_on_signal

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


def test_batch_systems_warn_with_six_signals() -> None:
    names = {number.name for number in SIGNALS}
    assert names == {"SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU"}


def test_a_limit_on_cpu_time_that_is_signalled_each_second_leaves_time_to_save() -> None:
    with stop_on_signal() as stop:
        stop.can_save = True
        for _ in range(3):
            signal.raise_signal(signal.SIGXCPU)
        assert stop.asked() == signal.SIGXCPU


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_is_ignored_stays_ignored(number: signal.Signals) -> None:
    """As SIGHUP is under nohup, and Ctrl-C for what a script runs in the background."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        for handling in (stop_on_signal, stop_in_program):
            with handling() as stop:
                stop.can_save = True
                signal.raise_signal(number)
                assert stop.asked() is None
            assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


IN_PROGRAM = """
import signal, sys
from mlpcli.interrupts import stop_in_program
number = int(sys.argv[1])
with stop_in_program() as stop:
    stop.can_save = True
    signal.raise_signal(number)
    print(stop.asked() == number, flush=True)
    signal.raise_signal(number)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_in_a_program_the_second_signal_does_what_it_always_does(number: signal.Signals) -> None:
    command = [sys.executable, "-c", IN_PROGRAM, str(int(number))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-number, "True\n", "")


def test_a_second_ctrl_c_is_python_s_own_and_the_first_where_nothing_can_be_saved() -> None:
    with pytest.raises(KeyboardInterrupt), stop_in_program():
        signal.raise_signal(signal.SIGINT)
    with stop_in_program() as stop:
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
        with stop_in_program() as stop:
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
