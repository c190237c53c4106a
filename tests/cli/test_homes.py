"""A user without a home, or with one that is not to be written to, as containers give it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from conftest import TINY
from faults.shell import call

# A uid that /etc/passwd does not have, which may read everything and write nearly nothing.
ARBITRARY = "--reuid 12345 --clear-groups --inh-caps +dac_read_search --ambient-caps"
ELSEWHERE = "name a folder for data by --data-dir or $MLPCLI_DATA_DIR"


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root, setpriv")
@pytest.mark.parametrize("home", [None, "/nonexistent"])
def test_without_a_home_the_data_can_be_kept_elsewhere(
    tmp_path: Path, shapes_dir: Path, home: str | None
) -> None:
    env = {
        name: text for name, text in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME")
    }
    env |= {"PYTHONPATH": ":".join(sys.path)} | ({} if home is None else {"HOME": home})
    mlpcli = ["setpriv", *ARBITRARY.split(), "+dac_read_search", sys.executable, "-m", "mlpcli"]
    for command in (["train", "note"], ["download", "--synthetic"]):
        done = call([*mlpcli, *command], tmp_path, env=env)
        assert done.returncode == 2, done
        assert done.stderr.endswith(f"; {ELSEWHERE}\n")
        assert len(done.stderr.splitlines()) == 1
    shutil.copytree(shapes_dir, tmp_path / "shapes")
    trains = ["train", "note", *TINY, "data.val_size=50", "--data-dir", "shapes", "--runs-dir"]
    done = call([*mlpcli, *trains, "/dev/null/runs"], tmp_path, env=env)
    assert done.stderr.startswith("error: /dev/null/runs: no run can be made there"), done.stderr
    chosen = call([*mlpcli, "train", "note"], tmp_path, env=env | {"MLPCLI_DATA_DIR": "data"})
    assert "data: no such folder, expected one that holds cifar-10-batches-py" in chosen.stderr
