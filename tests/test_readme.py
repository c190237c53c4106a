"""The README: its commands exist, its keys are the code's, and its five lines classify an image."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import CONFIGS, ROOT, SHIPPED, Command
from faults import ROWS
from readme import written

from mlpcli.cifar10 import synthetic
from mlpcli.cli.main import cli
from mlpcli.runs import checkpoint
from mlpcli.sweep import plan as sweeps

README = (ROOT / "README.md").read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    """Every line that calls mlpcli: in shell blocks, in transcripts, and in the CI step."""
    lines = "\n".join(blocks("sh") + blocks("console") + blocks("yaml")).splitlines()
    return [m[1] for line in lines if (m := re.match(r"\s*\$?\s*(mlpcli [^#]*[^#\s])", line))]


def test_the_readme_has_commands() -> None:
    assert len(commands()) > 10


@pytest.mark.parametrize("line", commands())
def test_every_command_in_the_readme_is_one(line: str) -> None:
    _, name, *arguments = shlex.split(line.partition(">")[0])
    command = cli.get_command(cli.make_context("mlpcli", ["--help"], resilient_parsing=True), name)
    assert command is not None
    context = command.make_context(name, arguments)  # parses, and runs nothing
    if config := context.params.get("config"):
        assert (ROOT / config).is_file()


def test_every_make_target_in_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"\bmake ([a-z]+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_shipped_configuration_is_described() -> None:
    for path in SHIPPED:
        assert f"| `{path.name}` |" in README


def test_the_sweep_and_the_ci_step_are_what_they_seem(tmp_path: Path) -> None:
    sweep, steps = blocks("yaml")
    (tmp_path / "note.yaml").write_text((CONFIGS / "note.yaml").read_text())
    (tmp_path / "sweep.yaml").write_text(sweep)
    assert len(sweeps.load(tmp_path / "sweep.yaml").trials) == 2 * 20 * 3
    (step,) = yaml.safe_load(steps)
    assert "--min-val-accuracy" in step["run"]


def test_what_the_readme_takes_from_the_code_has_not_drifted() -> None:
    """No figure is typed in, and no word of help either."""
    assert written(README) == README, "make docs writes it anew"


def test_the_table_of_faults_is_that_of_make_torture() -> None:
    for row in ROWS.values():
        line = rf"^\| {row.number} \| {re.escape(row.fault)} \| ([0-9,]+) \| 0 \| \d+ \|$"
        found = re.search(line, README, re.MULTILINE)
        assert found, row
        assert int(found[1].replace(",", "")) >= row.required


def test_five_lines_of_numpy_classify_an_image(
    mlpcli: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert mlpcli("train", CONFIGS / "smoke.yaml", "--set", "training.epochs=2").returncode == 0
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    images, _ = synthetic.draw(20, np.random.default_rng(0))
    saved = checkpoint.load(tmp_path / "runs/smoke-1/checkpoints/best.npz")
    logits = saved.model(20).forward((images / 255).astype(np.float32))
    for image in images:
        exec(code, {"image": image})
    printed = capsys.readouterr().out.split("\n")[:-1]
    assert printed == [saved.label_names[k] for k in logits.argmax(axis=1)]
    assert len(set(printed)) > 2
