"""The laws of the house: who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mlpcli

PACKAGE = Path(mlpcli.__file__).parent

# From the ground up: a module may import what lies below its own storey, and its own folder.
STOREYS = [
    {"errors"},
    {"files", "signals"},
    {"strict_yaml"},
    {"config", "environment"},
    {"sweeps"},
    {"schema"},
    {"nn", "cifar10"},
    {"features", "flaws", "diagnosis", "equations", "runs", "statistics", "pictures"},
    {"warps", "checkpoint", "plots", "trials"},
    {"inputs"},
    {"minibatches"},
    {"evaluation"},
    {"training", "gradcheck", "report"},
    {"experiment"},
    {"cluster"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
OUTSIDERS = {
    "click": {"cli", "commands"},
    "tqdm": {"commands"},
    "requests": {"cifar10/download"},
    "yaml": {"strict_yaml", "config"},
    "matplotlib": {"plots"},
    "jinja2": {"report"},
    "PIL": {"pictures"},
    "dask": {"cluster"},
    "distributed": {"cluster"},
}
NUMPY_FREE = {
    "errors",
    "files",
    "signals",
    "strict_yaml",
    "config",
    "environment",
    "schema",
    "runs",
    "sweeps",
    "trials",
    "cli",
}


def imports(path: Path) -> set[str]:
    """Names of all that a file imports, anywhere in it."""
    tree = ast.parse(path.read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    """`nn` for mlpcli/nn/losses.py, `training` for mlpcli/training.py."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_downward_only(path: Path) -> None:
    storey = {name: level for level, names in enumerate(STOREYS) for name in names}
    own = room(path)
    if own == "__init__":
        return
    rooms = {name.split(".")[1] for name in imports(path) if name.startswith("mlpcli.")}
    for other in rooms - {own, "__version__"}:
        assert storey[other] < storey[own], f"{own} imports {other}, which is not below it"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_rooms_named_import_what_is_not_numpy(path: Path) -> None:
    own, full = room(path), str(path.relative_to(PACKAGE).with_suffix(""))
    for outsider, allowed in OUTSIDERS.items():
        if any(name.split(".")[0] == outsider for name in imports(path)):
            assert allowed & {own, full}, f"{full} imports {outsider}"


def test_the_mathematics_imports_numpy_and_nothing_else() -> None:
    for path in (PACKAGE / "nn").glob("*.py"):
        for name in imports(path):
            top = name.split(".")[0]
            assert top in sys.stdlib_module_names | {"numpy"} or name.startswith("mlpcli.nn.")


def test_what_runs_before_the_thread_count_is_set_imports_no_numpy() -> None:
    for name in sorted(NUMPY_FREE):
        code = f"import sys, mlpcli.{name}; sys.exit('numpy' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0, name
