"""Checkpoints: what is saved is read back, and what is not a checkpoint is refused in one line."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mlpcli import files
from mlpcli.config.settings import Config, ModelConfig
from mlpcli.errors import CheckpointError, MlpcliError
from mlpcli.runs import checkpoint
from mlpcli.runs.checkpoint import Checkpoint


def small_checkpoint() -> Checkpoint:
    rng = np.random.default_rng(0)
    shapes = {"W1": (3072, 4), "b1": (4,), "W2": (4, 3), "b2": (3,)}
    return Checkpoint(
        named_params={k: rng.standard_normal(s).astype(np.float32) for k, s in shapes.items()},
        config=Config(name="small", model=ModelConfig(hidden=(4,))),
        label_names=("a", "b", "c"),
        data_digest="0" * 64,
        environment={"threads": 2},
        epoch=2,
        step=7,
        val_accuracy=0.5,
        val_loss=None,
        resume_arrays={"order": np.arange(5)},
        resume_values={"rng": {"state": 2**127 + 1}, "progress": {"loss_sum": 0.1 + 0.2}},
    )


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    saved = small_checkpoint()
    checkpoint.save(tmp_path / "a.npz", saved)
    loaded = checkpoint.load(tmp_path / "a.npz")
    for name, array in saved.named_params.items():
        np.testing.assert_array_equal(loaded.named_params[name], array)
    np.testing.assert_array_equal(loaded.resume_arrays["order"], np.arange(5))
    plain = {"named_params": {}, "resume_arrays": {}}
    assert dataclasses.replace(loaded, **plain) == dataclasses.replace(saved, **plain)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_the_network_of_a_checkpoint_holds_its_parameters(tmp_path: Path) -> None:
    saved = small_checkpoint()
    network = saved.model(5).network
    assert network.layer_sizes == (3072, 4, 3)
    for name, array in saved.named_params.items():
        np.testing.assert_array_equal(network.named_params[name], array)


def rewritten(tmp_path: Path, **changes: object) -> Path:
    """Save the small checkpoint with some arrays changed, or left out where None; sign it anew."""
    path = tmp_path / "a.npz"
    checkpoint.save(path, small_checkpoint())
    with np.load(path) as file:
        arrays = {name: array for name, array in (dict(file) | changes).items() if name != "digest"}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    if not any(array.dtype.hasobject for array in arrays.values()):
        arrays["digest"] = np.array(checkpoint._digest(arrays))
    np.savez(path, **arrays)
    return path


def metadata(**changes: object) -> np.ndarray:
    values = {
        "format": checkpoint.FORMAT,
        "config": {"name": "a", "model": {"hidden": [4]}},
        "label_names": ["a", "b", "c"],
        "data_digest": "",
        "environment": {},
        "epoch": 1,
        "step": 1,
        "val_accuracy": None,
        "val_loss": None,
        "resume_values": {},
    }
    return np.array(json.dumps(values | changes))


NO_VALIDATION = {"name": "a", "data": {"val_size": 0}, "model": {"hidden": [4]}}


def test_the_metadata_of_these_tests_is_that_of_a_checkpoint(tmp_path: Path) -> None:
    assert checkpoint.load(rewritten(tmp_path, metadata=metadata())).epoch == 1
    first = rewritten(tmp_path, metadata=metadata(epoch=0, step=0, val_loss=0.0, val_accuracy=0.0))
    assert checkpoint.load(first).val_loss == 0


def test_metadata_has_at_most_2_to_the_18_bytes(tmp_path: Path) -> None:
    """NumPy's text has four bytes per character, after a header of 128."""
    text = str(metadata())
    for characters in (2**16 - 32, 2**16 - 31):
        path = rewritten(tmp_path, metadata=np.array(text.ljust(characters)))
        if characters == 2**16 - 32:
            assert checkpoint.load(path).epoch == 1
        else:
            with pytest.raises(CheckpointError, match="no metadata"):
                checkpoint.load(path)


def test_a_file_has_at_most_640_mebibytes(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for size, message in ((640 * 2**20, "not a zip file"), (640 * 2**20 + 1, "has 671,088,641 b")):
        with path.open("wb") as file:
            file.truncate(size)  # sparse: no disk is used
        with pytest.raises(CheckpointError, match=message):
            checkpoint.load(path)


def test_nothing_is_read_from_a_file_in_pieces_of_more_than_a_mebibyte(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(bytes(2**20 + 5))
    for size in (None, -1, 2**20):
        with checkpoint._Bounded(io.FileIO(path)) as file:
            assert len(file.read(size)) == (size if size == 2**20 else 2**20 + 5)
    with checkpoint._Bounded(io.FileIO(path)) as file:
        assert len(file.read()) == 2**20 + 5
        with pytest.raises(ValueError, match="directory is too long"):
            file.read(2**20 + 1)


def test_an_array_is_read_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = small_checkpoint()
    checkpoint.save(tmp_path / "a.npz", saved)
    monkeypatch.setattr(checkpoint, "CHUNK", 5000)  # W1 has ten times as many bytes
    loaded = checkpoint.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(loaded.named_params["W1"], saved.named_params["W1"])


def test_arrays_that_are_views_are_saved_as_they_are_seen(tmp_path: Path) -> None:
    saved = small_checkpoint()
    params = saved.named_params
    params |= {"W1": params["W1"][::-1], "b1": np.arange(8, dtype=np.float32)[::2]}
    checkpoint.save(tmp_path / "a.npz", saved)
    loaded = checkpoint.load(tmp_path / "a.npz")
    for name, array in params.items():
        np.testing.assert_array_equal(loaded.named_params[name], array)


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


B1 = npy(np.zeros(4, np.float32))


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (B1.replace(b"NUMPY", b"NUMPX"), "b1.npy is no array of numbers or text"),
        (npy(np.asfortranarray(np.zeros((2, 2), np.float32))), "b1.npy is no array of numbers"),
        (npy(np.zeros(4, np.int16)), "b1.npy is no array of numbers or text"),
        (B1 + bytes(4), "b1.npy is not as long as its header declares"),
        (B1[:-4], "b1.npy is not as long as its header declares"),
        (B1.replace(b"(4,)", b"(5,)"), "b1.npy is not as long as its header declares"),
        (npy(np.zeros((2, 2), np.float32)), r"b1 is \(2, 2\) float32, expected \(4,\)"),
        (npy(np.float32(0)), r"b1 is \(\) float32, expected \(4,\)"),
    ],
)
def test_a_member_that_is_not_as_numpy_saves_it_is_refused(
    tmp_path: Path, member: bytes, message: str
) -> None:
    path = tmp_path / "a.npz"
    checkpoint.save(path, small_checkpoint())
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()} | {"b1.npy": member}
    with zipfile.ZipFile(path, "w") as archive:
        for name, contents in members.items():
            archive.writestr(name, contents)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(path)


def test_what_is_compressed_or_says_so_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, metadata=metadata())
    with pytest.raises(CheckpointError, match=r"metadata\.npy is compressed"):
        checkpoint.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("b1.npy", B1)
        archive.filelist[0].file_size += 4
    with pytest.raises(CheckpointError, match=r"b1\.npy is compressed"):
        checkpoint.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("b1.npy", B1)
        archive.filelist[0].compress_type = zipfile.ZIP_DEFLATED
    with pytest.raises(CheckpointError, match=r"b1\.npy is compressed"):
        checkpoint.load(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_share_a_name_or_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("b1.npy", B1)
        archive.writestr("b1.npy", B1)
    with pytest.raises(CheckpointError, match="its arrays overlap"):
        checkpoint.load(path)
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("inner.npy", npy(np.zeros(1000)))
        (info,) = archive.filelist
    quoted = np.frombuffer(inner.getvalue()[: len(inner.getvalue()) // 4 * 4], np.float32)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("outer.npy", npy(quoted))
        info.header_offset = 30 + len("outer.npy") + 128  # of the inner one within the outer one
        archive.filelist.append(info)
    with pytest.raises(CheckpointError, match=r"(?i)overlap"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"W1": None}, "found metadata, b1, W2, b2, .*, expected metadata, W1, b1, W2, b2"),
        ({"W3": np.zeros(3)}, "found metadata, W1, b1, W2, b2, resume/order, W3"),
        ({"b1": np.zeros(5, np.float32)}, r"b1 is \(5,\) float32, expected \(4,\)"),
        ({"b1": np.zeros(4)}, "b1 is .* float64, expected .* float32"),
        ({"b1": np.array([0, 1, np.nan, 2], np.float32)}, "b1 is not finite"),
        ({"resume/order": np.array([np.inf])}, "resume/order is not finite"),
        ({"resume/order": np.array(["text"])}, "not a valid checkpoint"),
        ({"b1": np.array([None] * 4)}, "b1.npy is no array of numbers or text"),
        ({"metadata": None}, "it has no metadata"),
        ({"metadata": np.array("{")}, "not a valid checkpoint"),
        ({"metadata": np.array("[]")}, "not a valid checkpoint"),
        ({"metadata": np.array("[" * 60_000)}, "not a valid checkpoint"),
        ({"metadata": np.array("[" * 70_000)}, "no metadata"),
        ({"metadata": metadata(label_names=["a"])}, "label_names are not a list"),
        ({"metadata": metadata(label_names=["a"] * 257)}, "label_names are not a list"),
        (
            {"metadata": metadata(label_names=[*map(str, range(256))])},
            r"W2 is \(4, 3\) .* \(4, 256\)",
        ),
        ({"metadata": metadata(label_names=["a", "b"])}, r"W2 is \(4, 3\) .* \(4, 2\)"),
        (
            {"metadata": metadata(label_names=["a", "b", "a"])},
            "two of its label_names are the same",
        ),
        ({"metadata": metadata(label_names=["a", "b", 3])}, "label_names are not printable"),
        ({"metadata": metadata(epoch=-1)}, "its epoch is -1, expected a whole number from 0 to"),
        ({"metadata": metadata(epoch=True)}, "its epoch is True, expected a whole number"),
        ({"metadata": metadata(val_accuracy=-0.5)}, "its val_accuracy is -0.5, expected a"),
        ({"metadata": metadata(val_loss=float("inf"))}, "found Infinity, expected a finite"),
        ({"metadata": metadata(environment=[])}, r"its environment is \[\], expected a dict"),
        ({"metadata": metadata(format=99)}, "format 99, expected 3"),
        ({"metadata": metadata(config={"sede": 1})}, "sede: unknown key"),
        ({"metadata": metadata(config=[1])}, "found a list"),
        ({"metadata": metadata(label_names=3)}, "label_names are not a list"),
        ({"metadata": metadata(label_names="abc")}, "label_names are not a list"),
        ({"metadata": metadata(label_names=["a", "b", "\x1b[31m"])}, "not printable"),
        ({"metadata": metadata(epoch="1")}, "its epoch is '1', expected a whole number"),
        ({"metadata": metadata(val_loss=float("nan"))}, "found NaN, expected a finite number"),
        (
            {"metadata": metadata(val_accuracy=7.0)},
            "its val_accuracy is 7.0, expected a number from",
        ),
        ({"metadata": metadata(step=10**400)}, "found a number of 401 digits"),
        ({"metadata": metadata(step=10**39)}, "its step is 1000"),
        (
            {"metadata": metadata(environment={"a": [[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]})},
            "20 levels",
        ),
        (
            {"metadata": metadata(config=NO_VALIDATION, val_accuracy=0.5)},
            "it has a validation accuracy, but data.val_size is 0",
        ),
    ],
)
def test_what_is_not_a_checkpoint_is_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    path = rewritten(tmp_path, **changes)
    with pytest.raises(CheckpointError, match=message) as caught:
        checkpoint.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_changed_bit_is_noticed_though_the_archive_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    checkpoint.save(path, small_checkpoint())
    with np.load(path) as file:
        arrays = dict(file)
    arrays["b2"][1] = np.nextafter(arrays["b2"][1], np.float32(1))
    np.savez(path, **arrays)
    with pytest.raises(CheckpointError, match="SHA-256"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    "other",
    [
        {"resume/rows": np.arange(5)},
        {"resume/order": np.arange(5)[None]},
        {"resume/order": np.arange(5).view(np.float64)},
        {"resume/order": np.arange(5).astype(">i8").byteswap()},
    ],
)
def test_the_same_bytes_of_another_name_shape_or_dtype_are_noticed(
    tmp_path: Path, other: dict[str, np.ndarray]
) -> None:
    path = tmp_path / "a.npz"
    checkpoint.save(path, small_checkpoint())
    with np.load(path) as file:
        arrays = dict(file)
    digest, order = arrays.pop("digest"), arrays.pop("resume/order")
    assert next(iter(other.values())).tobytes() == order.tobytes()
    np.savez(path, **arrays, **other, digest=digest)
    with pytest.raises(CheckpointError, match="SHA-256"):
        checkpoint.load(path)


def test_a_spoiled_checkpoint_names_the_whole_one_beside_it(tmp_path: Path) -> None:
    last, previous = tmp_path / "last.npz", tmp_path / "previous.npz"
    for step in (1, 2):
        saved = dataclasses.replace(small_checkpoint(), step=step)
        checkpoint.save(last, saved, keep_as=previous)
    assert (checkpoint.load(last).step, checkpoint.load(previous).step) == (2, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.npz", "previous.npz"]
    last.write_bytes(last.read_bytes()[:-50])
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(last)
    assert str(caught.value).endswith("; previous.npz is valid: epoch 2, step 1")
    assert caught.value.hint == f"mlpcli train --resume {previous}"
    previous.write_bytes(b"")
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(last)
    assert caught.value.hint is None
    checkpoint.save(tmp_path / "best.npz", small_checkpoint())
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(last)
    assert caught.value.hint == f"mlpcli eval {tmp_path / 'best.npz'}"


def test_files_that_are_no_archive_are_refused(tmp_path: Path) -> None:
    whole = rewritten(tmp_path).read_bytes()
    path = tmp_path / "b.npz"
    for content in (b"", b"PK", b"garbage", whole[:1000], whole[:-30], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(CheckpointError):
            checkpoint.load(path)
    np.save(tmp_path / "c.npy", np.zeros(3))
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("metadata.npy", b"not an array")
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(CheckpointError, match=r"nowhere\.npz: no such checkpoint"):
        checkpoint.load(tmp_path / "nowhere.npz")
    for name in ("c.npy", "d.npz", ".", "pipe.npz"):
        with pytest.raises(CheckpointError):
            checkpoint.load(tmp_path / name)


def test_a_failure_while_writing_keeps_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), files.replacing(path) as file:
        file.write(b"half of the new")
        _ = 1 / 0
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_gone_is_one_clear_line(tmp_path: Path) -> None:
    with (
        pytest.raises(MlpcliError, match="cannot be written: No such file"),
        files.replacing(tmp_path / "gone" / "a.npz"),
    ):
        pass
