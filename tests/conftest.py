"""What the tests share: a small data set on disk, the real one, and the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mlpcli.cifar10 import batches, install, synthetic
from mlpcli.config.settings import Config, ModelConfig
from mlpcli.data.dataset import Split
from mlpcli.errors import DataError
from mlpcli.files import open_regular, reading
from mlpcli.runs.checkpoint import Checkpoint

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "configs"
SWEEP = CONFIGS / "sweep.yaml"  # not one configuration but many
TINY = ("training.epochs=1", "model.hidden=[4]")
SHIPPED = sorted(path for path in CONFIGS.glob("*.yaml") if path != SWEEP)

Command = Callable[..., subprocess.CompletedProcess[str]]
Without = Callable[[str], dict[str, str]]


# `make dist` names the environment in which it has installed the wheel.
BIN = Path(os.environ.get("MLPCLI_BIN") or Path(sys.executable).parent)
COMMAND = [BIN / "mlpcli"] if "MLPCLI_BIN" in os.environ else [sys.executable, "-m", "mlpcli"]
REAL_DATA_DIR = os.environ.get("MLPCLI_DATA_DIR")


def pytest_configure() -> None:
    """A shell starts what it runs in the background with Ctrl-C ignored; the tests need it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLPCLI_DATA_DIR", "MLPCLI_CIFAR10_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def real_data_dir() -> Path:
    """The folder that holds the real CIFAR-10."""
    if not REAL_DATA_DIR:
        pytest.skip("needs the real CIFAR-10: set MLPCLI_DATA_DIR to the folder that holds it")
    return Path(REAL_DATA_DIR)


def write_shapes(data_dir: Path, batch_rows: int = 40) -> Path:
    """Write a small data set of shapes in the official layout; return `data_dir`."""
    rng = np.random.default_rng(0)
    folder = data_dir / batches.PYTHON_FOLDER
    folder.mkdir(parents=True)
    train, test = synthetic.draw(5 * batch_rows, rng), synthetic.draw(batch_rows, rng)
    batches.write_folder(folder, synthetic.LABEL_NAMES, train, test)
    return data_dir


def unpack(path: Path, data_dir: Path) -> tuple[int, int]:
    """Install the data set of an archive, of whatever digest."""
    with reading(path, DataError):
        file = open_regular(path)
    with file:
        return install.unpack(file, path, data_dir)


def untrained(
    loss: str, hidden: int, names: tuple[str, ...], dtype: str = "float32", scale: float = 1.0
) -> Checkpoint:
    """Return a network of one hidden layer that has learned nothing, as it is saved."""
    rng, K = np.random.default_rng(0), len(names)
    shapes = {"W1": (3072, hidden), "b1": (hidden,), "W2": (hidden, K), "b2": (K,)}
    return Checkpoint(
        named_params={k: (scale * rng.standard_normal(s)).astype(dtype) for k, s in shapes.items()},
        config=Config(name="a", loss=loss, model=ModelConfig(hidden=(hidden,))),
        label_names=names,
        data_digest="0" * 64,
        environment={},
        epoch=1,
        step=1,
        val_accuracy=None,
        val_loss=None,
    )


def draw_split(count: int) -> Split:
    """Return this many shapes, all in one split."""
    images, labels = synthetic.draw(count, np.random.default_rng(0))
    return Split(images, labels, np.arange(count))


@pytest.fixture(scope="session")
def shapes_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with 200 training and 40 test images. Not to be written to."""
    return write_shapes(tmp_path_factory.mktemp("shapes"))


@pytest.fixture
def without(tmp_path_factory: pytest.TempPathFactory) -> Without:
    """Give the environment of a process in which a package is not installed."""

    def environment(package: str) -> dict[str, str]:
        folder = tmp_path_factory.mktemp("without")
        missing = f"raise ModuleNotFoundError('no {package}', name='{package}')"
        (folder / f"{package}.py").write_text(missing)
        return {**os.environ, "PYTHONPATH": str(folder)}

    return environment


@pytest.fixture
def mlpcli(tmp_path: Path) -> Command:
    """Call the command line in a process of its own, in a folder of the test's own."""

    def call(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            cwd=options.pop("cwd", tmp_path),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            **options,
        )

    return call


@pytest.fixture
def trained(mlpcli: Command, tmp_path: Path) -> Path:
    """The folder `runs/smoke-1` of a run of one epoch on the embedded data set."""
    done = mlpcli("train", "smoke", *TINY)
    assert done.returncode == 0, done.stderr
    return tmp_path / "runs" / "smoke-1"
