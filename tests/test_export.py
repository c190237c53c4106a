"""Exported networks, read by the programs they are for: the same classes and probabilities."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from conftest import Command, Without, untrained
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load

from mlpcli import export
from mlpcli.cifar10 import synthetic
from mlpcli.config.loading import from_dict
from mlpcli.config.settings import ModelConfig
from mlpcli.data.dataset import load_test
from mlpcli.errors import CheckpointError
from mlpcli.nn.losses import LOSSES
from mlpcli.nn.network import named_shapes
from mlpcli.runs import checkpoint, inference
from mlpcli.runs.checkpoint import Checkpoint
from mlpcli.runs.folder import with_data_dir

SHAPES = [(), (24,), (24, 16)]


def network(
    loss: str, activation: str, hidden: tuple[int, ...], dtype: str = "float32"
) -> Checkpoint:
    """Return a network with weights of a size that trained ones have."""
    saved = untrained(loss, 24, synthetic.LABEL_NAMES)
    model = ModelConfig(hidden=hidden, activation=activation if hidden else "sigmoid")
    rng = np.random.default_rng(0)
    params = {
        name: (rng.standard_normal(shape) / np.sqrt(shape[0])).astype(dtype)
        for name, shape in named_shapes(model.layer_sizes(3072, 10)).items()
    }
    return replace(saved, named_params=params, config=replace(saved.config, model=model))


def by_onnxruntime(content: bytes, images: NDArray[np.generic]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (probs,) = session.run(["probabilities"], {"images": images})
    return probs


def require_same(saved: Checkpoint, images: NDArray[np.uint8]) -> None:
    expected = inference.predict(saved, images)
    floats = (images / 255).astype(np.float32)
    for given, uint8 in ((floats, False), (images, True)):
        probs = by_onnxruntime(export.to_onnx(saved, uint8=uint8), given)
        np.testing.assert_allclose(probs, expected, atol=1e-5)
        assert np.array_equal(probs.argmax(axis=1), expected.argmax(axis=1))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("hidden", SHAPES, ids=len)
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", "gelu"])
def test_onnx_gives_the_probabilities_of_predict(
    loss: str, hidden: tuple[int, ...], activation: str
) -> None:
    images, _ = synthetic.draw(1000, np.random.default_rng(1))
    require_same(network(loss, activation, hidden), images)


def test_onnx_of_a_trained_network_on_cifar10(
    mlpcli: Command, real_data_dir: Path, tmp_path: Path
) -> None:
    sets = ("training.epochs=1", "features.components=32")
    done = mlpcli("train", "fast", *sets, "--data-dir", real_data_dir, "--json")
    saved = checkpoint.load(tmp_path / json.loads(done.stdout)["checkpoint"])
    test = load_test(with_data_dir(saved.config, real_data_dir).data).splits["test"]
    require_same(saved, test.images[:1000])


def test_a_float64_network_is_exported_in_float32_unless_a_weight_is_too_large() -> None:
    images, _ = synthetic.draw(100, np.random.default_rng(1))
    saved = network("sigmoid_cross_entropy", "tanh", (24,), "float64")
    require_same(saved, images)
    saved.named_params["W2"][3, 4] = 1e39
    with pytest.raises(CheckpointError, match="W2: a weight is too large for float32"):
        export.to_onnx(saved)


def test_label_names_and_configuration_come_with_it(tmp_path: Path) -> None:
    saved = network("softmax_cross_entropy", "relu", (24,))
    session = onnxruntime.InferenceSession(export.to_onnx(saved))
    assert session.get_inputs()[0].shape == ["N", 3072]
    file = tmp_path / "a.safetensors"
    file.write_bytes(export.to_safetensors(saved))
    with safe_open(file, "numpy") as opened:
        found = opened.metadata()
    for metadata in (session.get_modelmeta().custom_metadata_map, found):
        assert tuple(json.loads(metadata["label_names"])) == saved.label_names
        assert from_dict(json.loads(metadata["config"]), "metadata") == saved.config


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_safetensors_hold_the_same_bits(dtype: str) -> None:
    saved = network("squared_error", "gelu", (24, 16), dtype)
    arrays = load(export.to_safetensors(saved))
    assert arrays.keys() == saved.named_params.keys()
    for name, array in saved.named_params.items():
        assert arrays[name].dtype == array.dtype
        assert np.array_equal(arrays[name], array)


def test_the_same_network_gives_the_same_bytes() -> None:
    saved = network("softmax_cross_entropy", "gelu", (24,))
    for write in (export.to_onnx, export.to_safetensors):
        assert len({write(saved) for _ in range(10)}) == 1


def test_a_state_dict_loads_into_linear_layers() -> None:
    torch = pytest.importorskip("torch")
    images, _ = synthetic.draw(1000, np.random.default_rng(1))
    saved = network("softmax_cross_entropy", "gelu", (24, 16))
    linear, gelu = torch.nn.Linear, torch.nn.GELU
    layers = (linear(3072, 24), gelu("tanh"), linear(24, 16), gelu("tanh"), linear(16, 10))
    net = torch.nn.Sequential(*layers)
    net.load_state_dict(torch.load(io.BytesIO(export.to_torch(saved)), weights_only=True))
    with torch.no_grad():
        probs = torch.softmax(net(torch.from_numpy((images / 255).astype(np.float32))), 1).numpy()
    np.testing.assert_allclose(probs, inference.predict(saved, images), atol=1e-5)


def test_the_command_writes_beside_the_checkpoint_or_where_it_is_told(
    mlpcli: Command, tmp_path: Path
) -> None:
    assert mlpcli("train", "smoke", "training.epochs=1", "model.hidden=[8]").returncode == 0
    done = mlpcli("export", "smoke-1")
    assert done.stdout.startswith("runs/smoke-1/smoke-1.onnx: 3072-8-10, 0.1 MiB"), done.stderr
    last = tmp_path / "runs/smoke-1/checkpoints/last.npz"
    assert mlpcli("export", last, "--format", "safetensors").returncode == 0
    assert last.with_suffix(".safetensors").is_file()
    assert (
        mlpcli(
            "export",
            "smoke-1",
            "--input",
            "uint8",
            "--out",
            "~/a.onnx",
            env={"HOME": str(tmp_path)},
        ).returncode
        == 0
    )
    images, _ = synthetic.draw(20, np.random.default_rng(1))
    best = checkpoint.load(last.with_name("best.npz"))
    probs = by_onnxruntime((tmp_path / "a.onnx").read_bytes(), images)
    np.testing.assert_allclose(probs, inference.predict(best, images), atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere"], 5, "nowhere: no such checkpoint"),
        (["a.npz", "--format", "h5"], 2, "'h5' is not one of 'onnx', 'safetensors', 'torch'"),
        (
            ["a.npz", "--format", "torch", "--input", "uint8"],
            2,
            "--input uint8 needs --format onnx",
        ),
        (["a.npz"], 5, "a.npz: not a valid checkpoint"),
    ],
)
def test_wrong_use_is_one_clear_line(
    mlpcli: Command, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK")
    done = mlpcli("export", *arguments)
    assert done.returncode == code
    assert message in done.stderr.splitlines()[0]
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_a_link_stays_one(mlpcli: Command, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "a.npz", network("squared_error", "tanh", (24,)))
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    assert mlpcli("export", "a.npz", "--out", "link").returncode == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").stat().st_size > 0


@pytest.mark.parametrize("package", ["onnx", "safetensors", "torch"])
def test_a_missing_package_is_named(
    mlpcli: Command, without: Without, tmp_path: Path, package: str
) -> None:
    checkpoint.save(tmp_path / "a.npz", network("squared_error", "tanh", (24,)))
    done = mlpcli("export", "a.npz", "--format", package, env=without(package))
    assert done.returncode == 1
    assert f"error: export needs {package}, which is not installed" in done.stderr
    assert done.stderr.rstrip().endswith(f"pip install {package}")
