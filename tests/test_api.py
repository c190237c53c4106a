"""The Python API does what the command line does, with arrays instead of files and text."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CONFIGS, ROOT, Command, Without
from faults.shell import require_same
from PIL import Image

import mlpcli
from mlpcli import environment
from mlpcli.config.settings import SyntheticConfig
from mlpcli.data import dataset
from mlpcli.errors import CheckpointError, ConfigError, DataError, MlpcliError
from mlpcli.runs import checkpoint

SETTINGS = {
    "base": CONFIGS / "note.yaml",
    "threads": environment.threads(),  # what this process has, so that nothing has to change
    "data.val_size": 50,
    "model.hidden": [16],
    "training.epochs": 2,
}
SETS = [f"--set={key}={value}" for key, value in SETTINGS.items() if key != "base"]


@pytest.fixture(name="command")
def _command(mlpcli: Command) -> Command:
    return mlpcli


@pytest.fixture
def run(shapes_dir: Path, tmp_path: Path) -> mlpcli.FinishedRun:
    """A run of two epochs on the small data set."""
    return mlpcli.train(SETTINGS, runs_dir=tmp_path / "runs", data_dir=shapes_dir)


@pytest.fixture
def network(run: mlpcli.FinishedRun) -> mlpcli.Classifier:
    return mlpcli.load(run.folder)


def test_importing_the_package_imports_nothing_that_is_slow() -> None:
    code = (
        "import sys, mlpcli; dir(mlpcli); mlpcli.train;"
        "before = {'numpy', 'click', 'tqdm', 'requests'} & set(sys.modules);"
        "names = [getattr(mlpcli, name) for name in mlpcli.__all__];"
        "sys.exit(str(before) if before or 'numpy' not in sys.modules else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    code = "import sys, mlpcli; sys.exit(str({m for m in sys.modules if m.startswith('mlpcli.')}))"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.stderr == "set()\n"


def test_there_are_ten_names_at_most_and_each_is_documented() -> None:
    assert len(mlpcli.__all__) <= 10
    page = (ROOT / "docs" / "api.md").read_text()
    assert all(f"`{name}`" in page for name in mlpcli.__all__)
    assert set(mlpcli.__all__) <= set(dir(mlpcli))
    with pytest.raises(AttributeError, match="has no attribute 'export_everything'"):
        _ = mlpcli.export_everything  # type: ignore[attr-defined]


@pytest.mark.slow
def test_type_checkers_know_what_the_examples_use(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    program = tmp_path / "program.py"
    program.write_text("\n".join([*blocks, "mlpcli.train(3)", "mlpcli.lode('runs/smoke-1')"]))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", program.name],
        cwd=tmp_path,
        env=os.environ | {"MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    errors = [line.rpartition("  ")[2] for line in done.stdout.splitlines()[:-1]]
    assert errors == ["[arg-type]", "[attr-defined]"], done.stdout


def test_training_gives_the_bits_of_the_command_line_and_prints_nothing(
    command: Command,
    run: mlpcli.FinishedRun,
    shapes_dir: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert capfd.readouterr() == ("", "")
    done = command("train", CONFIGS / "note.yaml", *SETS, "--data-dir", shapes_dir, "--json")
    assert done.returncode == 0, done.stderr
    assert run.folder == tmp_path / "runs" / "note-1"
    require_same(run.folder, tmp_path / "runs" / "note-2")
    own = ("run_dir", "checkpoint", "seconds", "images_per_second", "legs")
    other = json.loads(done.stdout)
    assert run.summary.keys() == other.keys()
    assert all(run.summary[key] == other[key] for key in other if key not in own)


def test_each_epoch_is_reported_as_it_ends(shapes_dir: Path, tmp_path: Path) -> None:
    results: list[mlpcli.EpochResult] = []
    run = mlpcli.train(SETTINGS, runs_dir=tmp_path, data_dir=shapes_dir, on_epoch=results.append)
    assert [result.epoch for result in results] == [1, 2]
    assert [row["val/accuracy"] for row in run.epochs()] == [r.val_accuracy for r in results]


@pytest.mark.parametrize(
    ("expected", "message"),
    [(KeyboardInterrupt, "SIGINT: saved after step 3"), (ArithmeticError, "enough")],
)
def test_what_stops_a_training_loses_nothing(
    expected: type[BaseException],
    message: str,
    run: mlpcli.FinishedRun,
    shapes_dir: Path,
    tmp_path: Path,
) -> None:
    def stop(result: mlpcli.EpochResult) -> None:
        if expected is not KeyboardInterrupt:
            raise expected("enough")
        signal.raise_signal(signal.SIGINT)

    folder = tmp_path / "stopped"
    with pytest.raises(expected, match=message):
        mlpcli.train(SETTINGS, runs_dir=folder, data_dir=shapes_dir, on_epoch=stop)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert len(mlpcli.load(folder / "note-1").parameters) == 4
    resumed = mlpcli.train(resume=folder / "note-1")
    assert resumed.folder == folder / "note-1"
    require_same(run.folder, resumed.folder)


STOPPED = """
import os, signal, sys, mlpcli
stop = lambda result: os.kill(os.getpid(), signal.SIGTERM)
settings = {"base": sys.argv[1], "data.val_size": 50, "threads": 1}
mlpcli.train(settings, data_dir=sys.argv[2], on_epoch=stop)
"""


def test_other_signals_end_the_program_after_the_run_is_saved(
    shapes_dir: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", STOPPED, CONFIGS / "note.yaml", shapes_dir]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGTERM, "", "")
    assert checkpoint.load(tmp_path / "runs/note-1/checkpoints/last.npz").step == 3


def test_a_longer_cosine_needs_extend(run: mlpcli.FinishedRun) -> None:
    cosine = {"base": run.folder / "config.yaml", "schedule.name": "cosine"}
    short = mlpcli.train(cosine, runs_dir=run.folder.parent)
    longer = {"base": short.folder / "config.yaml", "training.epochs": 3}
    with pytest.raises(CheckpointError, match="has finished its 2 epochs; 3 would change the lea"):
        mlpcli.train(longer, resume=short.folder)
    with pytest.warns(RuntimeWarning, match="extended from 2 to 3 epochs: learning rate from"):
        extended = mlpcli.train(longer, resume=short.folder, extend=True)
    assert [leg["to_epoch"] for leg in extended.summary["legs"]] == [2, 3]


def test_ctrl_c_after_the_last_step_is_not_lost(shapes_dir: Path, tmp_path: Path) -> None:
    def stop(result: mlpcli.EpochResult) -> None:
        if result.epoch == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="note-1 is complete"):
        mlpcli.train(SETTINGS, runs_dir=tmp_path, data_dir=shapes_dir, on_epoch=stop)


def test_a_resumed_run_may_be_trained_for_longer(
    run: mlpcli.FinishedRun, shapes_dir: Path, tmp_path: Path
) -> None:
    longer = {"base": run.folder / "config.yaml", "training.epochs": 3}
    assert len(mlpcli.train(longer, resume=run.folder).epochs()) == 3
    straight = mlpcli.train(
        SETTINGS | {"training.epochs": 3}, runs_dir=tmp_path / "3", data_dir=shapes_dir
    )
    require_same(run.folder, straight.folder)


def test_a_configuration_is_a_file_or_a_mapping_or_a_config(shapes_dir: Path) -> None:
    file = CONFIGS / "smoke.yaml"
    config = dataclasses.replace(
        mlpcli.Config(name="a"), data=SyntheticConfig(val_size=1000, val_seed=0)
    )
    loaded = [mlpcli.load_data(each) for each in (file, str(file), {"base": file}, config)]
    for data in loaded[1:]:
        np.testing.assert_array_equal(data.val.images, loaded[0].val.images)
    assert [len(split.labels) for split in (data.train, data.val, data.test)] == [9000, 1000, 2000]


def test_the_data_is_what_the_network_is_trained_and_evaluated_on(
    network: mlpcli.Classifier, shapes_dir: Path
) -> None:
    data = mlpcli.load_data(network.config)
    assert data.label_names == network.label_names
    own = dataset.load_train_val(network.config.data)
    for name, (images, labels) in {"train": data.train, "val": data.val}.items():
        split = own.splits[name]  # type: ignore[index]
        np.testing.assert_array_equal(images, split.images[split.rows])
        np.testing.assert_array_equal(labels, split.labels[split.rows])
    everything = mlpcli.load_data({"data.val_size": 0}, data_dir=shapes_dir)
    assert everything.train.images.shape == (200, 3072)
    assert everything.val.images.shape == (0, 3072)


def test_predictions_are_those_of_the_command_line(
    command: Command, run: mlpcli.FinishedRun, network: mlpcli.Classifier, tmp_path: Path
) -> None:
    images, labels = mlpcli.load_data(network.config).test
    probs, predicted = network.predict_proba(images[:1]), network.predict(images)
    Image.fromarray(images[0].reshape(3, 32, 32).transpose(1, 2, 0)).save(tmp_path / "a.png")
    (said,) = json.loads(command("predict", run.folder, "a.png", "--json").stdout)["images"]
    for each in said["classes"]:
        assert probs[0, network.label_names.index(each["name"])] == each["probability"]
    assert said["classes"][0]["name"] == network.label_names[predicted[0]]

    evaluated, said = network.evaluate(), json.loads(command("eval", run.folder, "--json").stdout)
    assert (evaluated.accuracy, evaluated.loss) == (said["accuracy"], said["loss"])
    assert evaluated.counts.tolist() == said["confusion_matrix"]
    assert float(np.mean(predicted == labels)) == evaluated.accuracy
    val = json.loads(command("eval", run.folder, "--split", "val", "--json").stdout)
    assert network.evaluate("val").accuracy == val["accuracy"]


def test_images_have_any_of_three_shapes_and_two_kinds_of_numbers(
    network: mlpcli.Classifier,
) -> None:
    images = mlpcli.load_data(network.config).test.images
    expected = network.predict_proba(images)
    planes = images.reshape(-1, 3, 32, 32)
    for same in (planes, planes.transpose(0, 2, 3, 1)):
        np.testing.assert_array_equal(network.predict_proba(same), expected)
    for dtype in (np.float32, np.float64):
        probs = network.predict_proba((planes / 255).astype(dtype))
        np.testing.assert_allclose(probs, expected, rtol=1e-4)
    np.testing.assert_array_equal(network.predict(images), expected.argmax(axis=1))
    assert network.predict_proba(images[:0]).shape == (0, 10)
    assert network.predict(images[:0]).shape == (0,)


def test_several_threads_may_use_one_network(network: mlpcli.Classifier) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 50, 3072), np.uint8)
    with ThreadPoolExecutor(4) as threads:
        at_once = list(threads.map(network.predict_proba, images))
    np.testing.assert_array_equal(at_once, [network.predict_proba(each) for each in images])


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (np.zeros(3072, np.uint8), ValueError, r"\(3072,\), .*; a single image is images\[np\.new"),
        (np.zeros((32, 32, 3), np.uint8), ValueError, "a single image is"),
        (np.zeros((5, 32, 32), np.uint8), ValueError, r"shape \(5, 32, 32\), expected \(N, 3072\)"),
        (np.zeros((5, 28, 28, 3), np.uint8), ValueError, r"shape \(5, 28, 28, 3\), expected"),
        (np.float32(0), ValueError, r"shape \(\), expected"),
        (np.zeros((5, 3072), np.int64), TypeError, "found int64, expected uint8, or floats"),
        (np.zeros((5, 3072), np.bool_), TypeError, "found bool, expected uint8, or floats"),
        (np.full((5, 3072), 255.0), ValueError, "floats from 255 to 255, expected floats in"),
        (np.full((5, 3072), -0.5), ValueError, "floats from -0.5 to -0.5, expected floats in"),
        (np.full((5, 3072), np.nan), ValueError, "floats from nan to nan, expected floats in"),
    ],
)
def test_other_images_are_refused(
    network: mlpcli.Classifier, images: Any, error: type[Exception], message: str
) -> None:
    for predict in (network.predict, network.predict_proba):
        with pytest.raises(error, match=message):
            predict(images)


def test_the_parameters_are_the_network_and_cannot_be_written_to(
    network: mlpcli.Classifier,
) -> None:
    W1, b1, W2, b2 = network.parameters.values()
    images = mlpcli.load_data(network.config).test.images
    Z = 1 / (1 + np.exp(-(images / 255 @ W1 + b1)))
    probs = 1 / (1 + np.exp(-(Z @ W2 + b2)))
    np.testing.assert_allclose(network.predict_proba(images), probs, rtol=1e-4)
    with pytest.raises(ValueError, match="read-only"):
        network.parameters["W1"][0] = 0
    assert repr(network) == "<mlpcli.Classifier note: 3072-16-10, sigmoid_cross_entropy>"


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ("nowhere.yaml", ConfigError, "nowhere.yaml: no such configuration file"),
        ({"training.epochs": 0}, ConfigError, "config: training.epochs: found 0, expected a numb"),
        ({"epochs": 1}, ConfigError, "config: epochs: unknown key"),
        (mlpcli.Config(name="a", seed=-1), ConfigError, "config: seed: found -1"),
        (3, TypeError, "config: found int, expected a file"),
        (None, TypeError, "config: found NoneType, expected a file"),
        ({"data.dir": "nowhere"}, DataError, "nowhere"),
    ],
)
def test_what_cannot_be_trained_makes_no_run(
    config: Any, error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        mlpcli.train(config, runs_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_loaded_or_evaluated_says_so(
    run: mlpcli.FinishedRun, network: mlpcli.Classifier, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere\.npz: no such checkpoint"):
        mlpcli.load(tmp_path / "nowhere.npz")
    with pytest.raises(MlpcliError, match="not a run's folder"):
        mlpcli.train(resume=tmp_path)
    with pytest.raises(CheckpointError, match=r"was trained with model\.hidden \(16,\)"):
        mlpcli.train({"base": run.folder / "config.yaml", "model.hidden": [8]}, resume=run.folder)
    with pytest.raises(ValueError, match="split: found 'validation', expected 'train', 'val'"):
        network.evaluate("validation")  # type: ignore[arg-type]
    with pytest.raises(DataError):
        network.evaluate(data_dir=tmp_path / "no-data")


THREADS_AFTER_NUMPY = """
import sys, warnings, numpy, mlpcli, mlpcli.environment
warnings.simplefilter("error" if sys.argv[3] == "True" else "ignore")
before = mlpcli.environment.threads()
settings = {"base": sys.argv[1], "threads": before + 1, "data.val_size": 50, "training.epochs": 1}
mlpcli.train(settings, data_dir=sys.argv[2])
assert mlpcli.environment.threads() == before
"""


@pytest.mark.parametrize("installed", [True, False])
def test_a_run_records_the_threads_that_it_had(
    installed: bool, shapes_dir: Path, tmp_path: Path, without: Without
) -> None:
    if installed:
        pytest.importorskip("threadpoolctl")
    arguments = [CONFIGS / "note.yaml", shapes_dir, str(installed)]
    variables = dict(os.environ) if installed else without("threadpoolctl")
    subprocess.run(
        [sys.executable, "-c", THREADS_AFTER_NUMPY, *arguments],
        cwd=tmp_path,
        env=variables | {"OPENBLAS_NUM_THREADS": "1"},
        check=True,
    )
    recorded = json.loads((tmp_path / "runs/note-1/environment.json").read_text())
    assert recorded["threads"] == (2 if installed else 1)
