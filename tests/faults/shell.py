"""The command line in a process of its own, on a few shapes, and what its run's folder holds."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from conftest import CONFIGS, write_shapes

from mlpcli.runs import checkpoint
from mlpcli.runs.checkpoint import Checkpoint

MLPCLI = [sys.executable, "-m", "mlpcli"]
# One thread: two processes at a time would otherwise wait for one another.
SETS = ("threads=1", "data.val_size=50")
CLOCKS = {"seconds", "epoch_seconds"}


def once(function: Callable[..., Path]) -> Callable[..., Path]:
    """Cache what `function` made, and let no two threads make it."""
    lock, cached = threading.Lock(), functools.cache(function)

    @functools.wraps(function)
    def call(*arguments: str) -> Path:
        with lock:
            return cached(*arguments)

    return call


def lasting_folder() -> Path:
    """Make a folder that goes when this process ends."""
    name = tempfile.mkdtemp(prefix="torture-")
    atexit.register(shutil.rmtree, name, ignore_errors=True)
    return Path(name)


@once
def shapes() -> Path:
    """The folder of a data set of 200 training images, made once."""
    return write_shapes(lasting_folder())


@contextlib.contextmanager
def new_folder() -> Iterator[Path]:
    """Give a case a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="torture-") as name:
        yield Path(name)


def train(name: str, *sets: str) -> list[str]:
    """Return the command that trains a shipped configuration on the shapes."""
    small = ("features.components=30",) if name in ("fast", "best", "deep") else ()
    words = [word for text in (*SETS, *small, *sets) for word in ("--set", text)]
    return [*MLPCLI, "train", str(CONFIGS / f"{name}.yaml"), "--data-dir", str(shapes()), *words]


def resume(run: Path, *options: str) -> list[str]:
    return [*MLPCLI, "train", "--resume", str(run), *options]


def call(command: list[str], cwd: Path, **more: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False, **more
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def killed(command: list[str], cwd: Path, seconds: float, *, from_first_line: bool) -> bool:
    """Start a training and kill it after so long; say whether that came before its end.

    The time runs from its start, or from the first line that it prints: an epoch is over.
    """
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=cwd, text=True, **streams) as process:
        if from_first_line:
            process.stderr.readline()
        time.sleep(seconds)
        process.kill()
    return process.returncode == -signal.SIGKILL


def errors(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if line.startswith("error: ")]


def require_same(run: Path, reference: Path) -> None:
    """Raise AssertionError unless two runs came to the same bits, apart from clocks."""
    assert figures(run) == figures(reference), "metrics.csv differs"
    for name in ("last.npz", "best.npz"):
        one, two = (checkpoint.load(path / "checkpoints" / name) for path in (run, reference))
        assert plain(one) == plain(two), f"{name} differs in its values"
        assert contents(one) == contents(two), f"{name} differs in its arrays"


def figures(run: Path) -> list[list[str]]:
    """The rows of metrics.csv without the columns of clocks."""
    lines = (run / "metrics.csv").read_text().splitlines()
    return [line.split(",")[:6] for line in lines]


def contents(saved: Checkpoint) -> dict[str, bytes]:
    return {
        k: np.asarray(v).tobytes() for k, v in (saved.named_params | saved.resume_arrays).items()
    }


def plain(saved: Checkpoint) -> tuple[object, ...]:
    values = {
        name: {k: v for k, v in value.items() if k not in CLOCKS} if name == "progress" else value
        for name, value in saved.resume_values.items()
    }
    return (saved.epoch, saved.step, saved.val_accuracy, saved.val_loss, saved.data_digest, values)


def one_thread() -> dict[str, str]:
    """The environment of a process whose calls of the system are to be the same each time."""
    return {
        **os.environ,
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(Path(__file__).parent.parent),
    }
