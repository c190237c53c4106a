"""The shipped configurations: called by name, and described by what was measured."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path

import pytest
from conftest import CONFIGS, ROOT, SHIPPED

from mlpcli.config import loading, shipped
from mlpcli.errors import ConfigError
from mlpcli.sweep import plan as sweeps

MEASURED = json.loads((ROOT / "benchmarks" / "results.json").read_text())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_name_means_the_shipped_file(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert loading.load(path.stem) == loading.load(path)


def test_a_file_of_that_name_comes_first_and_an_unrelated_folder_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("note").write_text("seed: 7\n")
    assert loading.load("note").seed == 7
    Path("fast").mkdir()
    assert loading.load("fast") == loading.load(CONFIGS / "fast.yaml")


def test_a_base_may_be_a_shipped_one_and_a_file_beside_it_comes_first(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("base: fast\nseed: 3\n")
    assert loading.find(own)["optimizer.learning_rate"].origin.startswith(
        "mlpcli/configs/fast.yaml:"
    )
    assert loading.load(own).model == loading.load("fast").model
    (tmp_path / "fast").write_text("model: {hidden: [9]}\n")
    assert loading.load(own).model.hidden == (9,)


def test_a_sweep_is_called_by_name_and_may_vary_a_shipped_one(tmp_path: Path) -> None:
    assert len(sweeps.load(Path("sweep")).trials) == 36
    own = tmp_path / "own.yaml"
    own.write_text("base: fast\nset: {data.val_size: 5000}\nseeds: [1, 2]\n")
    assert [trial.config.seed for trial in sweeps.load(own).trials] == [1, 2]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fst", "fst: no such configuration file; did you mean the shipped fast?"),
        ("configs/deep.yml", "did you mean the shipped deep?"),
        ("xyz", "xyz: no such configuration file; shipped are best, deep, fast, "),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        loading.load(name)
    assert caught.value.hint == "mlpcli config list"


def test_descriptions_fit_a_terminal_and_their_figures_are_those_measured() -> None:
    for name, path in shipped.paths().items():
        lines = shipped.description(path)
        assert len(lines) == 2
        assert max(map(len, lines)) <= 80 - 18
        if name in MEASURED:
            runs = MEASURED[name]["runs"]
            tests = [100 * run["test"] for run in runs]
            seconds = statistics.median(run["process_seconds"] for run in runs)
            mean, std = statistics.mean(tests), statistics.stdev(tests)
            figures = f"Test accuracy {mean:.2f} ± {std:.2f}% in {seconds:.0f} s on two cores."
            assert lines[1] == figures


def test_paths_in_a_file_are_meant_from_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("STORE", "/store")
    Path("a").mkdir()
    own = Path("a/own.yaml")
    for given, meant in [
        ("data", tmp_path / "a/data"),
        ("../data", tmp_path / "a/../data"),
        ("~/data", tmp_path / "home/data"),
        ("$STORE/${STORE}x", Path("/store//storex")),
        ("$NOT_SET/x", tmp_path / "a/$NOT_SET/x"),
        ("/data", Path("/data")),
    ]:
        own.write_text(f"data:\n  dir: {given}\n")
        assert loading.find(own)["data.dir"].value == str(meant)
    assert loading.find(own, ["data.dir=data"])["data.dir"].value == str(tmp_path / "data")
    Path("a/sweep.yaml").write_text("base: note\nset: {data.dir: data}\nseeds: [1]\n")
    (trial,) = sweeps.load(Path("a/sweep.yaml")).trials
    assert loading.values(trial.config)["data.dir"] == str(tmp_path / "a/data")
