"""What someone sees who waits: on a terminal a status, then a bar; elsewhere only lines."""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
from pathlib import Path

import pytest
from conftest import Command, write_shapes
from servers import Sends, serving
from terminal import frames, on_a_terminal

from mlpcli.cifar10 import batches

SMALL = ("data.val_size=50", "training.epochs=4")


def test_the_work_before_the_first_step_is_named(shapes_dir: Path, tmp_path: Path) -> None:
    fast = ("train", "fast", *SMALL, "features.components=9", "--data-dir", shapes_dir)
    shown = frames(on_a_terminal(tmp_path, *fast))
    assert shown[:2] == ["reading CIFAR-10", "fitting 9 principal components"]
    assert frames(on_a_terminal(tmp_path, "train", "smoke", "training.epochs=1"))[0] == (
        "generating shapes"
    )


@pytest.mark.parametrize("columns", [80, 40, 0])  # 0: of unknown size
def test_the_bar_fits_and_has_something_to_show_from_the_start(
    columns: int, shapes_dir: Path, tmp_path: Path
) -> None:
    train = ("train", "smoke", "training.epochs=2", "data.val_size=100", "model.hidden=[16]")
    bars = [
        text for text in frames(on_a_terminal(tmp_path, *train, columns=columns)) if "|" in text
    ]
    assert bars
    for text in bars:
        assert len(text) <= (columns or 80)
        assert "?" not in text
        assert "0.00img" not in text
        layout = r"epoch [12]/2 +\d+% \|.*\| \d\d:\d\d left, loss \d+\.\d"
        assert re.match(layout, text)
        if columns != 40:
            assert re.search(r"loss \d+\.\d{4}, accuracy \d+\.\d%, \S+img/s$", text)


def test_a_sweep_counts_its_trials_from_the_start(tmp_path: Path) -> None:
    own = "base: smoke\nset: {training.epochs: 1, model.hidden: [4]}\nseeds: [0, 1]\n"
    (tmp_path / "own.yaml").write_text(own)
    shown = frames(on_a_terminal(tmp_path, "sweep", "own.yaml", "--workers", 1))
    bars = [text for text in shown if "trials |" in text]
    assert bars[0].startswith("0/2 trials |")
    assert re.match(r"1/2 trials \|.*\| \d\d:\d\d left$", bars[1])
    assert all("?" not in text for text in bars)


def test_a_download_shows_a_speed_that_was_measured(tmp_path: Path) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        folder = write_shapes(tmp_path / "shapes", batch_rows=4) / batches.PYTHON_FOLDER
        tar.add(folder, batches.PYTHON_FOLDER)
    body = archive.getvalue()
    assert len(body) < 100_000, "so that no tenth of a second can bring 1 MB/s"
    with serving(Sends(body, speed=len(body))) as server:
        source = ("--url", server.url, "--sha256", hashlib.sha256(body).hexdigest())
        fetch = ("download", *source, "--min-speed", 0, "--data-dir", "data")
        bars = [text for text in frames(on_a_terminal(tmp_path, *fetch)) if "%" in text]
    assert bars
    for text in bars:
        layout = rf"{server.host} +\d+% \|.*\| [\d.]+k?B, [\d.]+k?B/s, \d\d:\d\d left"
        assert re.fullmatch(layout, text)


def test_gradcheck_names_the_tensor_that_is_checked(tmp_path: Path) -> None:
    shown = frames(on_a_terminal(tmp_path, "gradcheck", "smoke", "model.hidden=[4]"))
    checked = [text for text in shown if text.startswith("checking ")]
    assert checked == [f"checking {name}, {i} of 4 tensors" for i, name in TENSORS]


TENSORS = list(enumerate(("W1", "b1", "W2", "b2"), 1))


def test_where_there_is_no_terminal_nothing_is_drawn(mlpcli: Command, shapes_dir: Path) -> None:
    done = mlpcli("train", "fast", *SMALL, "features.components=9", "--data-dir", shapes_dir)
    assert [line[:6] for line in done.stderr.splitlines()] == ["epoch "] * 4
    assert mlpcli("gradcheck", "smoke", "model.hidden=[4]").stderr == ""


def test_quiet_shows_no_status_either(tmp_path: Path) -> None:
    shown = frames(on_a_terminal(tmp_path, "train", "smoke", "training.epochs=1", "-q"))
    assert shown[0].startswith("best epoch")
    assert not any("|" in text for text in shown)


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": ""}, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colour_can_be_forced_and_refused(
    mlpcli: Command, environment: dict[str, str], coloured: bool
) -> None:
    env = {key: text for key, text in os.environ.items() if not key.endswith("_COLOR")}
    done = mlpcli("gradcheck", "smoke", "model.hidden=[4]", env=env | environment)
    assert ("\x1b[32mright" in done.stdout) == coloured
    done = mlpcli("eval", "nowhere", env=env | environment)
    assert done.stderr.startswith("\x1b[31merror" if coloured else "error")
