"""Files: where the data set is looked for, and folders that one process holds."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from pathlib import Path

import pytest

from mlpcli.errors import ConfigError, LockedError, MlpcliError
from mlpcli.files import data_dir, is_locked, locked, replacing


def test_where_the_data_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert data_dir(None) == Path("~/.cache/mlpcli").expanduser()
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert data_dir(None) == Path("/cache/mlpcli")
    monkeypatch.setenv("MLPCLI_DATA_DIR", "/data")
    assert data_dir(None) == Path("/data")
    assert data_dir("/chosen") == Path("/chosen")
    with pytest.raises(ConfigError, match="~nobody-here/x: "):
        data_dir("~nobody-here/x")


def test_whether_a_folder_is_locked_is_seen_without_disturbing_its_holder(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    with locked(tmp_path):
        held = (tmp_path / "lock").read_bytes()
        assert is_locked(tmp_path)
        assert (tmp_path / "lock").read_bytes() == held
        with pytest.raises(LockedError, match=f"in use by process {held.decode().strip()}"):
            locked(tmp_path).__enter__()
    assert not is_locked(tmp_path)
    (tmp_path / "lock").write_bytes(held)  # as a killed process leaves it
    assert not is_locked(tmp_path)


def test_a_folder_can_be_locked_although_another_process_looks_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "lock").open("w") as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        monkeypatch.setattr(time, "sleep", lambda _: fcntl.flock(look, fcntl.LOCK_UN))
        with locked(tmp_path):
            assert is_locked(tmp_path)


def test_a_special_file_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        message = f"{name}: cannot be written: not a regular file"
        with pytest.raises(MlpcliError, match=message), replacing(tmp_path / name) as file:
            file.write(b"new")
    assert stat.S_ISFIFO((tmp_path / "pipe").lstat().st_mode)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe"]
