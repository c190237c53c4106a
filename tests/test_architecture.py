"""Who may import what. Which package may import which is a contract in pyproject.toml."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mlpcli

PACKAGE = Path(mlpcli.__file__).parent

# The only packages and modules that import what is not NumPy.
OUTSIDERS = {
    "click": {"cli"},
    "tqdm": {"cli"},
    "requests": {"cifar10/http"},
    "yaml": {"config"},
    "matplotlib": {"report/__init__", "report/plots"},
    "jinja2": {"report/page"},
    "PIL": {"cifar10/images"},
    "onnx": {"export"},
    "safetensors": {"export"},
    "torch": {"export"},
    "distributed": {"sweep/cluster"},
    "threadpoolctl": {"environment"},
}
NUMPY_FREE = (
    "api",
    "cli.main",
    "config.json_schema",
    "config.loading",
    "config.settings",
    "environment",
    "files",
    "interrupts",
    "runs.folder",
    "runs.listing",
    "runs.legs",
    "runs.provenance",
    "runs.reading",
    "sweep.plan",
    "sweep.pool",
    "sweep.schema",
    "sweep.trials",
)


def imports(path: Path) -> set[str]:
    """Return the names of all that a file imports, anywhere in it."""
    tree = ast.parse(path.read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("outsider", OUTSIDERS)
def test_an_outsider_is_imported_in_one_place(outsider: str) -> None:
    for path in PACKAGE.rglob("*.py"):
        if any(name.split(".")[0] == outsider for name in imports(path)):
            module = str(path.relative_to(PACKAGE).with_suffix(""))
            assert {module, module.split("/", maxsplit=1)[0]} & OUTSIDERS[outsider], module


def test_the_mathematics_imports_numpy_and_nothing_else() -> None:
    for path in (PACKAGE / "nn").glob("*.py"):
        for name in imports(path):
            top = name.split(".")[0]
            assert top in sys.stdlib_module_names | {"numpy"} or name.startswith("mlpcli.nn.")


@pytest.mark.parametrize("module", NUMPY_FREE)
def test_what_runs_before_the_thread_count_is_set_imports_no_numpy(module: str) -> None:
    code = f"import sys, mlpcli.{module}; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_training_loop_knows_no_run_and_no_file() -> None:
    code = (
        "import sys, mlpcli.training.trainer;"
        "names = ('mlpcli.runs', 'mlpcli.cifar10', 'zipfile');"
        "sys.exit(any(module.startswith(names) for module in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_imports_neither_numpy_nor_requests() -> None:
    code = (
        "import sys; from mlpcli.cli.main import run; run(['--help']);"
        "sys.exit(bool({'numpy', 'requests', 'yaml'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
