"""Installing a data set: what stands in the data directory before and after."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest
from conftest import write_shapes

from mlpcli.cifar10 import batches, install
from mlpcli.cifar10.download import digest
from mlpcli.errors import DataError
from mlpcli.files import locked


def test_a_new_data_set_is_read_once(
    shapes_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(
        shutil.make_archive(str(tmp_path / "a"), "gztar", shapes_dir, batches.PYTHON_FOLDER)
    )
    reads, read_bytes = [], batches._read_bytes

    def counted(file: Path, folder: int, limit: int) -> bytes:
        reads.append(file.name)
        return read_bytes(file, folder, limit)

    monkeypatch.setattr(batches, "_read_bytes", counted)
    with path.open("rb") as file:
        sha256 = digest(file, path)
    installed = install.install(
        tmp_path,
        install.choose_source((), sha256, local=True),
        lambda *_: contextlib.nullcontext(lambda count: None),
        print,
        from_file=path,
        shapes=False,
        offline=False,
        force=False,
        min_speed=0,
    )
    assert installed == (200, 40, True)
    assert sorted(reads) == sorted((batches.META, *batches.TRAIN_BATCHES, *batches.TEST_BATCHES))


def test_an_old_data_set_is_put_back_where_its_successor_never_came(
    shapes_dir: Path, tmp_path: Path
) -> None:
    """As after a kill between the two renamings of an exchange."""
    (tmp_path / ".unpacking").mkdir()
    shutil.copytree(shapes_dir / batches.PYTHON_FOLDER, tmp_path / ".unpacking" / "old")
    with pytest.raises(DataError):
        install.replace_folder(tmp_path, "nothing", lambda folder: None)
    assert install.verify(tmp_path) == (200, 40)
    assert [path.name for path in tmp_path.iterdir()] == [batches.PYTHON_FOLDER]


def kill_between_the_renames(data_dir: Path) -> None:
    (data_dir / batches.STAGING).mkdir()
    (data_dir / batches.PYTHON_FOLDER).rename(data_dir / batches.REPLACED)


def test_reading_puts_back_what_a_killed_exchange_has_hidden(tmp_path: Path) -> None:
    write_shapes(tmp_path)
    kill_between_the_renames(tmp_path)
    assert install.verify(tmp_path) == (200, 40)
    assert {path.name for path in tmp_path.iterdir()} == {batches.PYTHON_FOLDER, "lock"}


def test_a_hidden_data_set_is_read_where_it_is_while_the_folder_is_held(tmp_path: Path) -> None:
    """A download may hold it for an hour; a folder that is read-only cannot be changed either."""
    write_shapes(tmp_path)
    kill_between_the_renames(tmp_path)
    with locked(tmp_path, print):
        assert install.verify(tmp_path) == (200, 40)
        assert (tmp_path / batches.REPLACED).exists()


def test_the_archive_that_was_checked_is_the_one_that_is_unpacked(
    shapes_dir: Path, tmp_path: Path
) -> None:
    good, other = (
        Path(shutil.make_archive(str(tmp_path / name), "gztar", folder, batches.PYTHON_FOLDER))
        for name, folder in (("a", shapes_dir), ("b", write_shapes(tmp_path / "other", 7)))
    )
    with good.open("rb") as file:
        source = install.choose_source((), digest(file, good), local=True)
    with install._checked(good, source, tmp_path) as file:
        other.replace(good)
        with pytest.raises(DataError, match="was changed while"):
            install.unpack(file, good, tmp_path, "0" * 64)
        assert install.unpack(file, good, tmp_path, source.sha256) == (200, 40)
