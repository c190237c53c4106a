"""`mlpcli config` as a shell sees it: what is shown is a configuration that trains."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from conftest import CONFIGS, Command

from mlpcli.config import loading as config
from mlpcli.config.settings import KEYS

NOTE = CONFIGS / "note.yaml"


def test_what_is_shown_trains_to_the_same_run(
    mlpcli: Command, shapes_dir: Path, tmp_path: Path
) -> None:
    sets = ("--set", "data.val_size=50", "--set", "training.epochs=1", "--set", "model.hidden=[4]")
    done = mlpcli("config", "show", NOTE, *sets)
    assert done.returncode == 0, done.stderr
    (tmp_path / "shown.yaml").write_text(done.stdout)
    for arguments in ((NOTE, *sets), ("shown.yaml",)):
        trained = mlpcli("train", *arguments, "--data-dir", shapes_dir)
        assert trained.returncode == 0, trained.stderr
    first, again = (tmp_path / "runs" / f"note-{number}" / "config.yaml" for number in (1, 2))
    assert first.read_text() == again.read_text()


def test_each_line_says_where_its_value_comes_from(mlpcli: Command) -> None:
    done = mlpcli("config", "show", "note.yaml", "--set", "seed=5", cwd=CONFIGS)
    for line in (
        r"name: note +# the file's own name",
        r"seed: 5 +# --set",
        r"threads: null +# default",
        r"  hidden: \[512\] +# note\.yaml:\d+",
        r"  learning_rate: 0\.1 +# note\.yaml:\d+",
    ):
        assert re.search(f"^{line}$", done.stdout, re.MULTILINE), line
    places = {line.index("#") for line in done.stdout.splitlines() if "#" in line}
    assert len(places) == 1, "the comments stand in one column"
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_json_holds_every_key_with_its_value_and_its_origin(mlpcli: Command) -> None:
    document = json.loads(mlpcli("config", "show", "note.yaml", "--json", cwd=CONFIGS).stdout)
    assert list(document) == [
        key for key, own in KEYS.items() if own.choices in ((), ("cifar10",), ("sgd",))
    ]
    assert document["model.hidden"]["value"] == [512]
    assert re.fullmatch(r"note\.yaml:\d+", document["model.hidden"]["origin"])
    assert document["training.patience"] == {"value": None, "origin": "default"}


def test_an_odd_path_is_shown_and_read_back(mlpcli: Command, tmp_path: Path) -> None:
    folder = tmp_path / "a\nb # c\x1b: é"
    folder.mkdir()
    (folder / "x.yaml").write_text('data: {dir: "a\\nb # c: \\"é\\""}\n')
    done = mlpcli("config", "show", folder / "x.yaml")
    assert "\x1b" not in done.stdout
    (tmp_path / "shown.yaml").write_text(done.stdout)
    assert config.load(tmp_path / "shown.yaml") == config.load(folder / "x.yaml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show"], "config show: CONFIG is missing"),
        (["show", "nowhere.yaml"], "nowhere.yaml: no such configuration file"),
        (["show", NOTE, "--set", "sede=1"], "did you mean seed?"),
        (["show", NOTE, "--set", "optimizer.nesterov=true"], "--set: optimizer.nesterov: needs"),
        (["show", NOTE, "--set", "optimizer.beta1=0.5"], "beta1: belongs to optimizer.name adamw"),
        (["schema", "x"], "unexpected extra argument"),
        (["sohw"], "No such command 'sohw'"),
    ],
)
def test_wrong_input_is_one_clear_line(
    mlpcli: Command, arguments: list[object], message: str
) -> None:
    done = mlpcli("config", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len([line for line in done.stderr.splitlines() if "  try: " not in line]) == 1


def test_without_a_command_it_says_what_there_is(mlpcli: Command) -> None:
    done = mlpcli("config")
    assert done.returncode == 0
    assert re.search(r"^  show +\S", done.stdout, re.MULTILINE)
    assert done.stdout == mlpcli("config", "--help").stdout
