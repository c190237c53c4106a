"""Every example of `--help`, typed by somebody who follows them from top to bottom."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import CONFIGS, write_shapes
from PIL import Image
from readme import all_commands
from torture.shell import call

SCHEDULER = "tcp://127.0.0.1:8786"


def examples() -> list[str]:
    """Return the lines of help that call mlpcli, in the order of the commands."""
    text = "\n".join(command.help or "" for _, command, _ in all_commands())
    return [line.strip() for line in text.splitlines() if line.strip().startswith("mlpcli ")]


def test_every_command_has_an_example_of_its_own() -> None:
    for name, command, _ in all_commands():
        lines = [line.strip() for line in (command.help or "").splitlines()]
        assert any(line.startswith(name) for line in lines), name


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the shipped configurations, a small data set, and pictures."""
    home = tmp_path_factory.mktemp("examples")
    shutil.copytree(CONFIGS, home / "configs")
    write_shapes(home / "data", batch_rows=1100)  # enough to set 5000 aside
    rng = np.random.default_rng(0)
    for name in re.findall(r"[\w/*]+\.(?:jpg|png)", " ".join(examples())):
        path = home / name.replace("*", "some")
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (48, 64, 3), np.uint8)).save(path)
    return home


@pytest.fixture(scope="module")
def scheduler(home: Path) -> Iterator[str]:
    """A scheduler with two workers, at an address of its own."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{found.getsockname()[1]}"
    dask = [sys.executable, "-m", "dask"]
    one = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    port = address.rpartition(":")[2]
    started = [
        subprocess.Popen(
            [*dask, "scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"],
            cwd=home,
            stderr=subprocess.DEVNULL,
        ),
        *(
            subprocess.Popen(
                [*dask, "worker", address, "--nthreads", "1", "--no-dashboard"],
                cwd=home,
                env=one,
                stderr=subprocess.DEVNULL,
            )
            for _ in range(2)
        ),
    ]
    yield address
    for process in reversed(started):
        process.terminate()
        process.wait()


@pytest.mark.parametrize("line", examples())
def test_an_example_does_what_it_says(line: str, home: Path, scheduler: str) -> None:
    command, _, comment = line.partition("#")
    code = int((re.search(r"exits with (\d)", comment) or ["", "0"])[1])
    _, *words = shlex.split(command.replace(SCHEDULER, scheduler))
    paths = [sorted(map(str, home.glob(word))) if "*" in word else [word] for word in words]
    arguments = [each.removeprefix(f"{home}/") for found in paths for each in found]
    environment = {**os.environ, "MLPCLI_DATA_DIR": str(home / "data")}
    done = call([sys.executable, "-m", "mlpcli", *arguments], home, env=environment)
    assert done.returncode == code, done.stderr
    assert done.stdout or "--explain" in arguments
