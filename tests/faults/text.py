"""Text in files that would steer the terminal on which it is shown."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from faults.rows import Case, row
from faults.saver import small
from faults.shell import MLPCLI, call, new_folder, resume, train
from mlpcli.cifar10.batches import META, PYTHON_FOLDER
from mlpcli.config.settings import Cifar10Config
from mlpcli.runs import checkpoint

RED = "\x1b[31m\x9b2J\u202e"  # ESC, CSI, and a mark that turns the direction of text
SHOWN = r"\x1b[31m\x9b2J\u202e"


def in_a_key(path: Path) -> list[str]:
    (path / "a.yaml").write_text(f'"{SHOWN}": 1\n')
    return ["train", "a.yaml"]


def in_a_value(path: Path) -> list[str]:
    (path / "a.yaml").write_text(f'model: {{activation: "{SHOWN}"}}\n')
    return ["train", "a.yaml"]


def in_a_base(path: Path) -> list[str]:
    (path / "a.yaml").write_text(f'base: "{SHOWN}"\n')
    return ["train", "a.yaml"]


def in_a_class_name(path: Path) -> list[str]:
    batches = path / "data" / PYTHON_FOLDER
    batches.mkdir(parents=True)
    meta = {"num_cases_per_batch": 1, "label_names": [RED, "b"]}
    (batches / META).write_bytes(pickle.dumps(meta, 2))
    return ["download", "--data-dir", "data"]


def in_a_global_of_a_pickle(path: Path) -> list[str]:
    batches = path / "data" / PYTHON_FOLDER
    batches.mkdir(parents=True)
    (batches / META).write_bytes(pickle.dumps({RED: RED}, 0) + b"cos\n\x1b[31m\n.")
    return ["download", "--data-dir", "data"]


def in_a_members_name(path: Path) -> list[str]:
    with tarfile.open(path / "a.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo(f"{PYTHON_FOLDER}/{RED}"), io.BytesIO())
    digest = hashlib.sha256((path / "a.tar.gz").read_bytes()).hexdigest()
    return ["download", "--from", "a.tar.gz", "--sha256", digest, "--data-dir", "data"]


def in_a_checkpoints_class(path: Path) -> list[str]:
    checkpoint.save(path / "a.npz", replace(small(1), label_names=(RED, "b", "c")))
    return ["eval", "a.npz"]


def in_a_checkpoints_data_dir(path: Path) -> list[str]:
    saved = small(1)
    config = replace(saved.config, data=Cifar10Config(dir=f"/{RED}"))
    checkpoint.save(path / "a.npz", replace(saved, config=config))
    return ["eval", "a.npz"]


def in_a_recorded_environment(path: Path) -> list[str]:
    assert call(train("note", "training.epochs=1"), path).returncode == 0
    last = path / "runs/note-1/checkpoints/last.npz"
    saved = checkpoint.load(last)
    checkpoint.save(last, replace(saved, environment=saved.environment | {"numpy": RED}))
    return resume(path / "runs" / "note-1", "--strict")[len(MLPCLI) :]


PLACES: list[Callable[[Path], list[str]]] = [
    in_a_key,
    in_a_value,
    in_a_base,
    in_a_class_name,
    in_a_global_of_a_pickle,
    in_a_members_name,
    in_a_checkpoints_class,
    in_a_checkpoints_data_dir,
    in_a_recorded_environment,
]


@row(20, "control characters in text that comes from a file", cases=6, few=3, whole=True)
def steering(seed: int) -> Iterator[Case]:
    for place in PLACES:
        yield place.__name__.replace("_", " "), partial(_escaped, place)


def _escaped(place: Callable[[Path], list[str]]) -> None:
    with new_folder() as path:
        done = call([*MLPCLI, *place(path)], path)
        assert done.returncode in (2, 4, 5), done
        assert done.stdout == ""
        for line in done.stderr.splitlines():
            assert line.isprintable(), line
