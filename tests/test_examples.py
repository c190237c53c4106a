"""Every example of `--help`, typed by somebody who follows them from top to bottom.

A sweep is trained by the first of its examples; what the others add is tested with the command.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import BIN, write_shapes
from documentation import all_commands
from faults.shell import call
from PIL import Image


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
    """A folder outside the checkout, with a small data set and pictures."""
    home = tmp_path_factory.mktemp("examples")
    write_shapes(home / "data", batch_rows=1100)  # enough to set 5000 aside
    rng = np.random.default_rng(0)
    for name in re.findall(r"[\w/*]+\.(?:jpg|png)", " ".join(examples())):
        path = home / name.replace("*", "some")
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (48, 64, 3), np.uint8)).save(path)
    return home


@pytest.mark.slow
@pytest.mark.parametrize("line", examples())
def test_an_example_does_what_it_says(line: str, home: Path) -> None:
    code = int((re.search(r"# exits with (\d)", line) or ["", "0"])[1])
    commands = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": commands, "MLPCLI_DATA_DIR": str(home / "data")}
    done = call(["sh", "-c", line], home, env=environment)
    assert done.returncode == code, done.stderr
    assert done.stdout or ">" in line
