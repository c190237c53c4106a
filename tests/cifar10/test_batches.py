"""Batch files: read as they were written, and refused where they are anything else."""

from __future__ import annotations

import copyreg
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import CONFIGS, Command, write_shapes
from faults import pickles

from mlpcli.cifar10 import batches
from mlpcli.errors import DataError

ROWS = 40


@pytest.fixture
def folder(shapes_dir: Path, tmp_path: Path) -> Path:
    """A copy of the small data set that the test may change."""
    shutil.copytree(shapes_dir, tmp_path, dirs_exist_ok=True)
    return tmp_path / batches.PYTHON_FOLDER


def read_train(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    with batches.open_folder(folder.parent) as opened:
        return opened.read(batches.TRAIN_BATCHES)


def test_a_folder_reads_as_pickle_itself_reads_it(folder: Path) -> None:
    images, labels = read_train(folder)
    for i, name in enumerate(batches.TRAIN_BATCHES):
        batch = pickle.loads((folder / name).read_bytes())
        np.testing.assert_array_equal(images[i * ROWS : (i + 1) * ROWS], batch["data"])
        assert labels[i * ROWS : (i + 1) * ROWS].tolist() == batch["labels"]
    assert images.dtype == np.uint8
    assert images.flags.c_contiguous


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("order", ["C", "F"])
def test_batches_written_again_by_python_3_are_read(
    folder: Path, protocol: int, order: str
) -> None:
    expected, _ = read_train(folder)
    for name in batches.TRAIN_BATCHES:
        batch = pickle.loads((folder / name).read_bytes())
        batch["data"] = np.asarray(batch["data"], order=order)
        encoded = {key.encode(): value for key, value in batch.items()}
        (folder / name).write_bytes(pickle.dumps(encoded, protocol))
    np.testing.assert_array_equal(read_train(folder)[0], expected)


def test_two_classes_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / batches.BINARY_FOLDER).mkdir()
    (tmp_path / batches.BINARY_FOLDER / "batches.meta.txt").write_text("cat\ndog\ncat\n")
    with pytest.raises(DataError, match="found two classes named cat"):
        batches.open_folder(tmp_path).__enter__()


def test_the_binary_version_is_read(folder: Path) -> None:
    images, labels = read_train(folder)
    binary = folder.parent / batches.BINARY_FOLDER
    binary.mkdir()
    for i, name in enumerate(batches.TRAIN_BATCHES):
        part = slice(i * ROWS, (i + 1) * ROWS)
        rows = np.hstack([labels[part, None].astype(np.uint8), images[part]])
        (binary / f"{name}.bin").write_bytes(rows.tobytes())
    with batches.open_folder(folder.parent) as opened:
        names = opened.label_names
    (binary / "batches.meta.txt").write_text("\n".join(names) + "\n\n")
    shutil.rmtree(folder)

    with batches.open_folder(folder.parent) as found:
        assert found.label_names == names
        again, labels_again = found.read(batches.TRAIN_BATCHES)
        np.testing.assert_array_equal(again, images)
        np.testing.assert_array_equal(labels_again, labels)
        (binary / "data_batch_2.bin").write_bytes(b"\0" * 5000)
        with pytest.raises(DataError, match="multiple of 3073"):
            found.read(batches.TRAIN_BATCHES)


def change(folder: Path, **changes: object) -> None:
    path = folder / "data_batch_1"
    batch = pickle.loads(path.read_bytes()) | changes
    path.write_bytes(pickle.dumps(batch, protocol=2))


PIXELS = np.zeros((ROWS, 3072), np.uint8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": PIXELS.astype(np.int16)}, "array of uint8"),
        ({"data": PIXELS[:, :3000]}, "array of uint8"),
        ({"data": PIXELS.astype(object)}, "array of uint8"),
        ({"data": PIXELS.tolist()}, "array of uint8"),
        ({"data": PIXELS[:7]}, "found 7 images but 40 labels"),
        ({"data": PIXELS[:7], "labels": [0] * 7}, "found 7 images, expected 40"),
        ({"labels": [0.5] * ROWS}, "pickle opcode 0x47"),
        ({"labels": [-1] * ROWS}, "labels"),
        ({"labels": [True] * ROWS}, "labels"),
        ({"labels": [10] * ROWS}, "found label 10, expected 0 to 9"),
        ({"labels": None}, "labels"),
    ],
)
def test_a_batch_that_is_not_cifar10_is_refused(
    folder: Path, changes: dict[str, object], message: str
) -> None:
    change(folder, **changes)
    with pytest.raises(DataError, match=message) as caught:
        read_train(folder)
    assert "data_batch_1" in str(caught.value)


def test_files_that_are_missing_or_truncated_are_named(folder: Path) -> None:
    path = folder / "data_batch_3"
    valid = path.read_bytes()
    for content in (valid[:-1], valid[: len(valid) // 2], b"", b"garbage", b"\0" * 33 * 2**20):
        path.write_bytes(content)
        with pytest.raises(DataError, match="data_batch_3"):
            read_train(folder)
    path.unlink()
    with pytest.raises(DataError, match="data_batch_3: missing"):
        read_train(folder)
    path.mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        read_train(folder)


def test_the_batch_that_hostile_ones_are_made_from_is_read(folder: Path) -> None:
    (folder / batches.META).write_bytes(pickles.meta())
    (folder / "data_batch_1").write_bytes(pickles.batch())
    with batches.open_folder(folder.parent) as opened:
        images, labels = opened.read(["data_batch_1"])
    assert (images.shape, labels.tolist()) == ((2, 3072), [0, 1])
    loaded = pickle.loads(pickles.batch())
    assert loaded["data"].shape == (2, 3072)


@pytest.mark.parametrize("name", pickles.RUNNING)
def test_pickle_itself_would_run_what_the_running_ones_hold(name: str, tmp_path: Path) -> None:
    copyreg.add_extension("os", "system", 0xF0)
    try:
        pickle.loads(pickles.RUNNING[name](f"touch {tmp_path / 'ran'}"))
    finally:
        copyreg.remove_extension("os", "system", 0xF0)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content",
    [
        pickles.RUNNING["os.system by GLOBAL"]("touch ran"),
        pickles.REFUSED["32 MiB of dictionaries"](),
        pickles.REFUSED["nested calls within the limit"](),
        pickles.REFUSED["a name of two lines and a bell"](),
    ],
    ids=["runs", "bomb", "nested", "two lines"],
)
def test_the_shell_sees_one_line_and_a_4(
    folder: Path, mlpcli: Command, content: bytes, tmp_path: Path
) -> None:
    (folder / "data_batch_1").write_bytes(content)
    done = mlpcli("train", CONFIGS / "note.yaml", "--data-dir", folder.parent)
    assert done.returncode == 4
    assert done.stderr.startswith(f"error: {folder / 'data_batch_1'}: ")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "ran").exists()


def test_a_data_set_that_is_replaced_in_the_middle_is_never_mixed_with_the_new_one(
    folder: Path,
) -> None:
    with batches.open_folder(folder.parent) as opened:
        before, _ = opened.read(["data_batch_1"])
        folder.rename(folder.with_name("old"))
        write_shapes(folder.parent, batch_rows=7)
        again, _ = opened.read(["data_batch_1"])
        np.testing.assert_array_equal(again, before)
        shutil.rmtree(folder.with_name("old"))
        with pytest.raises(DataError, match="was replaced while it was read") as caught:
            opened.read(["data_batch_2"])
    assert caught.value.hint == ()


@pytest.mark.parametrize("name", [batches.PYTHON_FOLDER, "renamed"])
def test_the_folder_of_the_batches_itself_is_read_too(folder: Path, name: str) -> None:
    own = folder.rename(folder.with_name(name))
    with batches.open_folder(own) as opened:
        assert len(opened.read(batches.TRAIN_BATCHES)[1]) == 5 * ROWS


def test_a_folder_that_nobody_may_list_is_read(folder: Path) -> None:
    folder.chmod(0o111)  # for root a folder as any other
    assert len(read_train(folder)[1]) == 5 * ROWS
    folder.chmod(0o755)


@pytest.mark.parametrize(
    ("given", "meant"),
    [("", "data"), ("data/sub", "data"), (f"data/{batches.PYTHON_FOLDER}/sub", "data")],
)
def test_a_data_set_nearby_is_named(
    shapes_dir: Path, tmp_path: Path, given: str, meant: str
) -> None:
    shutil.copytree(shapes_dir, tmp_path / "data")
    (tmp_path / given).mkdir(exist_ok=True)
    with (
        pytest.raises(DataError, match="found no data set in it, but in") as caught,
        batches.open_folder(tmp_path / given),
    ):
        pass
    assert caught.value.hint == ("--data-dir", str(tmp_path / meant))


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer", "lfs pull"),
        (b"/annex/objects/MD5E-s31035704--0\n", "a git-annex pointer", "annex get"),
        (b"<!DOCTYPE html>", "a web page", None),
        (b"\x1f\x8b\x08", "a gzip file", None),
        (b"", "an empty file", None),
    ],
)
def test_what_lies_in_the_place_of_a_batch_is_named(
    folder: Path, content: bytes, message: str, hint: str | None
) -> None:
    (folder / "data_batch_2").write_bytes(content)
    with pytest.raises(DataError, match=f"data_batch_2: found {message}, expected") as caught:
        read_train(folder)
    assert (hint is None and caught.value.hint is None) or hint in str(caught.value.hint)


def test_no_hint_replaces_a_data_set_that_may_not_be_cifar10(folder: Path) -> None:
    (folder / "data_batch_2").unlink()
    with pytest.raises(DataError, match="data_batch_2: missing") as caught:
        read_train(folder)
    assert caught.value.hint is None
    meta = {"num_cases_per_batch": 10_000, "label_names": list(batches.LABEL_NAMES)}
    (folder / batches.META).write_bytes(pickle.dumps(meta, 2))
    with (
        batches.open_folder(folder.parent) as opened,
        pytest.raises(DataError, match="data_batch_2: missing") as caught,
    ):
        opened.read(["data_batch_2"])
    assert caught.value.hint == f"mlpcli download --force --data-dir {folder.parent}"
