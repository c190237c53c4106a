"""The number of BLAS threads, before and after NumPy is imported, and what decides it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY, Command, Without

from mlpcli import environment

BEFORE = """
from mlpcli import environment
environment.set_threads(1)
import numpy
print(environment.threads())
"""
AFTER = """
import numpy
from mlpcli import environment
with environment.set_threads(None):
    print(environment.threads())
for _ in range(2):
    with environment.set_threads(3):
        print(environment.threads())
print(environment.threads())
"""
TWO = {"OPENBLAS_NUM_THREADS": "2"}


def printed(code: str, variables: dict[str, str]) -> tuple[list[int], str]:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return list(map(int, done.stdout.split())), done.stderr


@pytest.fixture(params=[True, False])
def variables(request: pytest.FixtureRequest, without: Without) -> dict[str, str]:
    """The environment of a process with threadpoolctl, and of one without it."""
    if not request.param:
        return without("threadpoolctl")
    pytest.importorskip("threadpoolctl")
    return {}


def test_before_numpy_is_imported_they_are_set(variables: dict[str, str]) -> None:
    assert printed(BEFORE, variables) == ([1], "")


def test_afterwards_threadpoolctl_sets_them_for_a_while() -> None:
    pytest.importorskip("threadpoolctl")
    before = min(2, len(os.sched_getaffinity(0)))  # OpenBLAS starts no more than that
    assert printed(AFTER, TWO) == ([before, 3, 3, before], "")


def test_afterwards_and_without_it_one_warning_says_that_they_stay(without: Without) -> None:
    threads, stderr = printed(AFTER, without("threadpoolctl") | TWO)
    assert threads == [2, 2, 2, 2]
    (warning,) = [line for line in stderr.splitlines() if "Warning" in line]
    assert "it has 2, not 3; pip install threadpoolctl, or set OPENBLAS_NUM_THREADS=3" in warning


@pytest.mark.parametrize(
    ("openblas", "omp"), [("1", "2"), ("", "1"), ("no", "1"), ("0", "1"), ("1", "no")]
)
def test_the_variables_count_as_openblas_reads_them(
    variables: dict[str, str], openblas: str, omp: str
) -> None:
    code = "import numpy; from mlpcli import environment; print(environment.threads())"
    given = {"OPENBLAS_NUM_THREADS": openblas, "OMP_NUM_THREADS": omp}
    assert printed(code, variables | given) == ([1], "")


@pytest.mark.parametrize(
    ("number", "default", "given", "expected"),
    [
        (3, None, {"OPENBLAS_NUM_THREADS": "2"}, "3, threads of the configuration"),
        (None, None, {"OPENBLAS_NUM_THREADS": "2"}, "2, OPENBLAS_NUM_THREADS"),
        (None, 1, {"OMP_NUM_THREADS": "2"}, "2, OMP_NUM_THREADS"),
        (None, None, {"OMP_NUM_THREADS": "4,2", "MKL_NUM_THREADS": "1"}, "4, OMP_NUM_THREADS"),
        (None, None, {"OPENBLAS_NUM_THREADS": "no", "GOTO_NUM_THREADS": " 5"}, "5, GOTO_NUM_TH"),
        (None, None, {"OMP_NUM_THREADS": "0", "MKL_NUM_THREADS": "-1"}, "8, usable cores: 8"),
        (None, None, {"OMP_NUM_THREADS": "9" * 50}, "8, usable cores: 8"),
        (None, 1, {}, "1, the default"),
    ],
)
def test_the_configuration_comes_first_then_the_users_variables_then_the_default(
    monkeypatch: pytest.MonkeyPatch,
    number: int | None,
    default: int | None,
    given: dict[str, str],
    expected: str,
) -> None:
    for variable in environment.THREAD_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(environment, "_allowed_cores", lambda: 8)
    monkeypatch.setattr(environment, "_quotas", lambda root: iter(()))
    chosen, reason = environment.chosen_threads(number, default)
    assert f"{chosen}, {reason}".startswith(expected)


@pytest.mark.slow
def test_every_command_takes_the_number_from_the_variable_and_a_run_records_it(
    mlpcli: Command, tmp_path: Path
) -> None:
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = mlpcli("train", "smoke", *TINY, "-v", env=variables)
    line = "BLAS threads: 1 (OMP_NUM_THREADS)\n"
    assert line in done.stderr
    recorded = json.loads((tmp_path / "runs/smoke-1/environment.json").read_text())
    assert recorded["threads"] == 1
    assert recorded["threads_from"] == "OMP_NUM_THREADS"
    for command in (("eval", "none"), ("report", "none"), ("gradcheck", "--checkpoint", "none")):
        assert mlpcli(*command, "-v", env=variables).stderr.startswith(line)
    # Why the number was chosen is nothing that a resumed run is compared by.
    resume = ("train", "--resume", "runs/smoke-1", "--strict", "--set", "threads=1", "-v")
    done = mlpcli(*resume)
    assert done.returncode == 0, done.stderr
    assert "BLAS threads: 1 (threads of the configuration)\n" in done.stderr


V1, V2 = "3:cpu,cpuacct:{}\n2:memory:/\n1:name=systemd:/\n", "0::{}\n"
CPU = "sys/fs/cgroup/cpu,cpuacct"
QUOTAS: list[tuple[str, dict[str, str], int, str]] = [
    (V2.format("/a/b"), {"sys/fs/cgroup/a/b/cpu.max": "40000 100000"}, 1, "0.4 cores"),
    (V2.format("/a/b"), {"sys/fs/cgroup/a/b/cpu.max": "max 100000"}, 8, "usable cores: 8"),
    (V2.format("/a/b"), {"sys/fs/cgroup/a/cpu.max": "150000 100000"}, 2, "1.5 cores"),
    (V2.format("/"), {"sys/fs/cgroup/cpu.max": "240000 100000"}, 2, "2.4 cores"),
    (V2.format("/host/its/path"), {"sys/fs/cgroup/cpu.max": "300000 100000"}, 3, "3 cores"),
    (V2.format("/a"), {"sys/fs/cgroup/a/cpu.max": "1600000 100000"}, 8, "usable cores: 8"),
    (V2.format("/a"), {"sys/fs/cgroup/unified/a/cpu.max": "200000 100000"}, 2, "2 cores"),
    (
        V2.format("/a/b"),
        {"sys/fs/cgroup/a/cpu.max": "100000 50000", "sys/fs/cgroup/a/b/cpu.max": "3 1"},
        2,
        "2 cores",
    ),
    (
        V1.format("/a/b"),
        {f"{CPU}/a/b/cpu.cfs_quota_us": "-1", f"{CPU}/a/b/cpu.cfs_period_us": "100000"},
        8,
        "usable cores: 8",
    ),
    (
        V1.format("/a/b"),
        {f"{CPU}/a/cpu.cfs_quota_us": "25000", f"{CPU}/a/cpu.cfs_period_us": "50000"},
        1,
        "0.5 cores",
    ),
    (
        V1.format("/docker/1"),
        {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "9", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "3"},
        3,
        "3 cores",
    ),
    (V1.format("/../.."), {f"{CPU}/cpu.cfs_quota_us": "100000"}, 8, "usable cores: 8"),
    (V2.format("/a"), {"sys/fs/cgroup/a/cpu.max": "100000 0"}, 8, "usable cores: 8"),
    (V2.format("/a"), {"sys/fs/cgroup/a/cpu.max": "\udcff ½ ٣"}, 8, "usable cores: 8"),
    ("nothing\n0\n::\n", {"sys/fs/cgroup/cpu.max": "100000 100000"}, 1, "1 cores"),
    ("", {}, 8, "usable cores: 8"),
]


@pytest.mark.parametrize(("groups", "files", "number", "limit"), QUOTAS, ids=range(len(QUOTAS)))
def test_a_quota_of_the_control_group_or_of_one_above_it_counts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    groups: str,
    files: dict[str, str],
    number: int,
    limit: str,
) -> None:
    monkeypatch.setattr(environment, "_allowed_cores", lambda: 8)
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n", errors="surrogateescape")
    found, why = environment.usable_cores(tmp_path)
    assert found == number
    assert limit in why


# As `ulimit -u` for other users than root: a thread needs a stack, for which there is no memory.
NO_SECOND_THREAD = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))
sys.argv = ["mlpcli", *sys.argv[1:]]
runpy.run_module("mlpcli", run_name="__main__")
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="OpenBLAS starts no second thread")
def test_threads_that_cannot_be_started_are_one_true_line_and_not_an_interruption(
    tmp_path: Path,
) -> None:
    python = [sys.executable, "-c", NO_SECOND_THREAD]

    def call(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        # The system gives the first thread, and by default each other, as much stack as this says.
        return subprocess.run(
            ["sh", "-c", 'ulimit -s 8388608; exec "$@"', "-", *python, *arguments],
            cwd=tmp_path,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    for arguments in (("train", "smoke", "threads=2"), ("--version",)):
        done = call(*arguments, OPENBLAS_NUM_THREADS="2")
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: 2 BLAS threads cannot be started: the system allows")
        assert line.endswith("set OPENBLAS_NUM_THREADS=1")
    assert call("--version", OPENBLAS_NUM_THREADS="1").returncode == 0


@pytest.mark.parametrize("found", [{}, {"Build Dependencies": {"blas": {"name": None}}}])
def test_a_numpy_that_does_not_name_its_blas_is_described(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, object]
) -> None:
    monkeypatch.setattr(np, "show_config", lambda mode: found)
    facts = environment.describe()
    assert (facts["numpy"], facts["blas"]) == (np.__version__, "unknown")
