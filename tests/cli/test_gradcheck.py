"""`mlpcli gradcheck`: its verdicts, its exit codes, and the networks that it can check."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import CONFIGS, TINY, Command, untrained

from mlpcli.cifar10.synthetic import LABEL_NAMES
from mlpcli.config.settings import Config, ModelConfig, SyntheticConfig
from mlpcli.runs import checkpoint

NOTE = CONFIGS / "note.yaml"


@pytest.fixture
def dead(tmp_path: Path) -> Path:
    """A checkpoint whose ReLU units are all off: the gradients before them are zero."""
    saved = untrained("sigmoid_cross_entropy", 4, LABEL_NAMES)
    saved.named_params["b1"][...] = -1e6
    model = ModelConfig(hidden=(4,), activation="relu")
    config = Config(name="dead", data=SyntheticConfig(), model=model)
    checkpoint.save(tmp_path / "dead.npz", replace(saved, config=config))
    return tmp_path / "dead.npz"


@pytest.mark.slow
def test_gradcheck_passes_and_says_so(mlpcli: Command, shapes_dir: Path) -> None:
    arguments = ("gradcheck", NOTE, "--data-dir", shapes_dir, "--set", "data.val_size=50")
    done = mlpcli(*arguments)
    assert done.returncode == 0
    assert done.stdout.count("right") == 4
    document = json.loads(mlpcli(*arguments, "--json").stdout)
    assert document["passed"] is True
    assert [tensor["name"] for tensor in document["tensors"]] == ["W1", "b1", "W2", "b2"]


def test_gradcheck_finds_an_injected_flaw_and_says_why(mlpcli: Command, shapes_dir: Path) -> None:
    arguments = ("gradcheck", NOTE, "--data-dir", shapes_dir, "--set", "data.val_size=50")
    done = mlpcli(*arguments, "--set", "model.hidden=[16]", "--inject", "sign")
    assert done.returncode == 3
    assert "the gradient of W1, b1, W2, b2 is wrong" in done.stderr
    assert done.stdout.count("likely reason: the sign is flipped") == 4
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_gradient_that_is_zero_is_inconclusive(mlpcli: Command, dead: Path) -> None:
    done = mlpcli("gradcheck", "--checkpoint", dead)
    assert done.returncode == 8, done.stdout
    assert done.stdout.count("inconclusive: its gradient is zero") == 3
    assert "the gradient of W1, b1, W2 is neither confirmed nor refuted" in done.stderr
    document = json.loads(mlpcli("gradcheck", "--checkpoint", dead, "--json").stdout)
    assert document["passed"] is None
    assert [t["passed"] for t in document["tensors"]] == [None, None, None, True]
    assert document["tensors"][0]["direction"]["error"] is None
    assert mlpcli("gradcheck", "--checkpoint", dead, "--allow-inconclusive").returncode == 0


def test_an_inconclusive_gradient_excuses_no_wrong_one(mlpcli: Command, dead: Path) -> None:
    flawed = ("--inject", "sign", "--allow-inconclusive")
    done = mlpcli("gradcheck", "--checkpoint", dead, *flawed)
    assert done.returncode == 3
    assert "the gradient of b2 is wrong" in done.stderr


@pytest.mark.slow
def test_a_run_is_checked_by_its_own_configuration(mlpcli: Command, trained: Path) -> None:
    for arguments in ([trained], ["--checkpoint", trained], ["--checkpoint", "smoke-1"]):
        done = mlpcli("gradcheck", *arguments)
        assert done.returncode == 0, done.stderr
        assert "3072×4" in done.stdout
    done = mlpcli("gradcheck", "--checkpoint", trained, "model.hidden=[5]")
    assert (done.returncode, "not the network that KEY=VALUE" in done.stderr) == (5, True)
    done = mlpcli("gradcheck", NOTE, "--checkpoint", trained)
    assert (done.returncode, "note.yaml describes" in done.stderr) == (5, True)


@pytest.mark.slow
def test_the_network_that_trains_can_be_checked(mlpcli: Command, tmp_path: Path) -> None:
    """last.npz holds it on the features, best.npz folded, on pixels."""
    features = ("features.name=pca", "features.components=6")
    assert mlpcli("train", "smoke", *TINY, *features).returncode == 0
    saves = tmp_path / "runs" / "smoke-1" / "checkpoints"
    for name, shape in (("last", "6×4"), ("best", "3072×4")):
        done = mlpcli("gradcheck", "--checkpoint", saves / f"{name}.npz")
        assert done.returncode == 0, done.stdout + done.stderr
        assert shape in done.stdout
    done = mlpcli("gradcheck", "--checkpoint", saves / "last.npz", "features.components=7")
    assert done.returncode == 5
    assert "found 78 saved parameters, expected 82" in done.stderr


def test_a_saved_state_without_parameters_is_refused(mlpcli: Command, dead: Path) -> None:
    saved = checkpoint.load(dead)
    checkpoint.save(dead, replace(saved, resume_arrays={"params": np.zeros(3, np.float32)}))
    done = mlpcli("gradcheck", "--checkpoint", dead)
    assert (done.returncode, "found 3 saved parameters" in done.stderr) == (5, True)
