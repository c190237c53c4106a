"""Files: where the data set is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpcli.errors import ConfigError
from mlpcli.files import data_dir


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
