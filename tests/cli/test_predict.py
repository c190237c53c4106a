"""`mlpcli predict` from a shell: the network's own prediction for an image of any kind."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import Command, Without, untrained
from PIL import Image

from mlpcli.cifar10 import synthetic
from mlpcli.config.settings import Cifar10Config
from mlpcli.data import dataset
from mlpcli.runs import checkpoint, inference
from mlpcli.runs.checkpoint import Checkpoint


def network(loss: str) -> Checkpoint:
    return untrained(loss, 8, synthetic.LABEL_NAMES)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """The best checkpoint of a folder that looks like a run's, `runs/a-1`."""
    path = tmp_path / "runs" / "a-1" / "checkpoints" / "best.npz"
    path.parent.mkdir(parents=True)
    (path.parent.parent / "config.yaml").touch()
    checkpoint.save(path, network("softmax_cross_entropy"))
    return path


def write_image(path: Path, image: np.ndarray) -> None:
    """Write an image of the data set, uint8 (3072,), as a file that Pillow reads."""
    Image.fromarray(image.reshape(3, 32, 32).transpose(1, 2, 0)).save(path)


def test_a_test_image_as_a_file_gives_exactly_the_networks_own_prediction(
    mlpcli: Command, saved: Path, shapes_dir: Path, tmp_path: Path
) -> None:
    split = dataset.load_test(Cifar10Config(dir=str(shapes_dir))).splits["test"]
    for loss in ("softmax_cross_entropy", "sigmoid_cross_entropy"):
        own = network(loss)
        checkpoint.save(saved, own)
        for row in split.rows[:3]:
            write_image(tmp_path / "a.png", split.images[row])
            done = mlpcli("predict", saved, "a.png", "--json", "--top", 99)
            (image,) = json.loads(done.stdout)["images"]
            assert image["file"] == "a.png"
            found = {entry["name"]: entry["probability"] for entry in image["classes"]}
            (probs,) = inference.predict(own, split.images[row : row + 1])
            assert found == dict(zip(own.label_names, map(float, probs), strict=True))
            assert list(found.values()) == sorted(probs, reverse=True)


def test_several_images_are_short_blocks_within_80_columns(
    mlpcli: Command, saved: Path, tmp_path: Path
) -> None:
    for name in ("a.jpg", "b.gif", "-c.png"):
        Image.new("RGB", (50, 40), "teal").save(tmp_path / name)
    done = mlpcli("predict", "runs/a-1", "--", "a.jpg", "b.gif", "-c.png")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[::4] == ["a.jpg", "b.gif", "-c.png"]
    for i in (1, 2, 3):
        assert re.fullmatch(r"  [a-z]+ +\d+\.\d% ?█*[▏▎▍▌▋▊▉█]?", lines[i])
    assert max(map(len, lines)) <= 80
    certain = [line for line in lines if " 100.0% " in line]
    assert all(len(line) == 80 for line in certain)


def test_an_unreadable_image_is_reported_and_the_others_are_classified(
    mlpcli: Command, saved: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (50, 40), "teal").save(tmp_path / "a.png")
    (tmp_path / "truncated\x1b[31m.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    arguments = ("predict", saved, "none.png", "a.png", "truncated\x1b[31m.png", "--top", 1)
    done = mlpcli(*arguments)
    assert done.returncode == 4
    assert done.stdout.splitlines()[0] == "a.png"
    assert len(done.stdout.splitlines()) == 2
    first, second, last = done.stderr.splitlines()
    assert first == "warning: none.png: no such image"
    assert second.startswith(r"warning: truncated\x1b[31m.png: cannot be read as an image: ")
    assert last == "error: 2 of 3 images cannot be read"

    done = mlpcli(*arguments, "--json")
    assert done.returncode == 4
    none, good, truncated = json.loads(done.stdout)["images"]
    assert (none["file"], none["error"]) == ("none.png", "none.png: no such image")
    assert [len(good["classes"]), "error" in good, "error" in truncated] == [1, False, True]


def test_every_image_may_be_unreadable(mlpcli: Command, saved: Path) -> None:
    done = mlpcli("predict", saved, "x.png", "y.png", "--json")
    assert done.returncode == 4
    assert [set(image) for image in json.loads(done.stdout)["images"]] == [{"file", "error"}] * 2


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["runs/a-1"], 2, "Missing argument 'IMAGE...'"),
        (["runs/a-1", "a.png", "--top", "0"], 2, "0 is not in the range x>=1"),
        (["nowhere.npz", "a.png"], 5, "nowhere.npz: no such checkpoint"),
        (["runs", "a.png"], 5, "runs: found a folder of runs, expected one of them"),
        (["a.png", "a.png"], 5, "a.png: not a valid checkpoint of mlpcli"),
        (["runs/a-1", "none.png"], 4, "error: none.png: no such image"),
        (["runs/a-1", "runs"], 4, "error: runs: cannot be read: not a regular file"),
        (["runs/a-1", "/dev/zero"], 4, "error: /dev/zero: cannot be read: not a regular file"),
        (["runs/a-1", "runs/a-1/config.yaml"], 4, "config.yaml: not an image of a known format"),
    ],
)
def test_wrong_input_is_one_clear_line_and_its_exit_code(
    mlpcli: Command, saved: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    done = mlpcli("predict", *arguments)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert done.stdout == ""
    assert len([line for line in done.stderr.splitlines() if "  try: " not in line]) == 1


def test_without_pillow_it_says_what_to_install(
    mlpcli: Command, without: Without, saved: Path
) -> None:
    done = mlpcli("predict", saved, "a.png", env=without("PIL"))
    assert done.returncode == 1
    error, hint = done.stderr.splitlines()
    assert error == "error: predict needs PIL, which is not installed"
    assert hint.startswith("  try: ")
    assert hint.endswith("pip install pillow")
