"""The distribution: what the wheel holds, and what the package index shows of it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import CONFIGS, ROOT
from packaging.metadata import Metadata
from packaging.requirements import Requirement

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
BUILT_FROM = ["LICENSE", "README.md", "configs", "docs", "mlpcli", "pyproject.toml"]
# The backend without the tools around it: they would download it again.
BUILD = "import sys, setuptools.build_meta as backend; backend.build_wheel(sys.argv[1])"
HOME = "https://github.com/somebody/something"

Build = Callable[..., tuple[set[str], Metadata]]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Build a wheel from a copy of the sources; return the names in it and its metadata."""

    def build(*repository: str) -> tuple[set[str], Metadata]:
        source = tmp_path / "source"
        for name in BUILT_FROM:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            source.mkdir(exist_ok=True)
            copy(ROOT / name, source / name)
        if repository:
            links = [sys.executable, ROOT / ".ci" / "links.py", source, *repository]
            subprocess.run(links, check=True)
        command = [sys.executable, "-c", BUILD, tmp_path]
        done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
            names = set(wheel.namelist())
            metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
            return names, Metadata.from_email(wheel.read(metadata))

    return build


def links(text: str) -> list[str]:
    """Return where the links and pictures of a Markdown text lead."""
    return re.findall(r"\]\(([^\s)]+)", re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M))


def test_the_wheel_holds_the_package_and_the_configurations_and_nothing_else(build: Build) -> None:
    names, metadata = build()
    expected = {"mlpcli/docs/note.md", "mlpcli/py.typed", "mlpcli/report/page.html"}
    expected |= {f"mlpcli/configs/{path.name}" for path in CONFIGS.iterdir()}
    expected |= {str(path.relative_to(ROOT)) for path in (ROOT / "mlpcli").rglob("*.py")}
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert metadata.name == "mlpcli-cifar10"
    assert metadata.license_expression == "MIT"
    assert metadata.description == (ROOT / "README.md").read_text()


@pytest.mark.skipif(
    "Repository" in PROJECT["project"]["urls"], reason="the sdist of a release has them already"
)
def test_a_release_has_links_that_the_package_index_can_follow(build: Build) -> None:
    _, metadata = build("somebody/something", "v1.0")
    before = links((ROOT / "README.md").read_text())
    after = links(metadata.description)
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        if old.startswith(("http", "#")):
            assert new == old
        else:
            kind = "raw" if old.endswith((".png", ".svg")) else "blob"
            assert new == f"{HOME}/{kind}/v1.0/{old}"
            assert (ROOT / old.partition("#")[0]).exists()
    assert metadata.project_urls is not None
    assert metadata.project_urls["Repository"] == HOME
    assert metadata.project_urls["Changelog"] == f"{HOME}/blob/v1.0/CHANGELOG.md"


def test_links_in_every_notation_are_made_absolute_but_code_is_left(tmp_path: Path) -> None:
    text = (
        "[a](docs/a.md#b) [![p](p.png)](docs/p.md) [c](#c) [d](https://d) `[e](f)`\n"
        '<img alt="g" src="g.svg"> <a href="h.md">h</a>\n\n```\n[i](j)\n```\n\n[k]: k.md\n'
    )
    (tmp_path / "README.md").write_text(text)
    (tmp_path / "pyproject.toml").write_text("[project.urls]\n")
    command = [sys.executable, ROOT / ".ci" / "links.py", tmp_path, "somebody/something", "abc"]
    subprocess.run(command, check=True)
    blob, raw = f"{HOME}/blob/abc", f"{HOME}/raw/abc"
    assert (tmp_path / "README.md").read_text() == (
        f"[a]({blob}/docs/a.md#b) [![p]({raw}/p.png)]({blob}/docs/p.md) [c](#c) [d](https://d) "
        f'`[e](f)`\n<img alt="g" src="{raw}/g.svg"> <a href="{blob}/h.md">h</a>\n\n'
        f"```\n[i](j)\n```\n\n[k]: {blob}/k.md\n"
    )


def test_all_is_every_extra_of_a_user() -> None:
    (everything,) = map(Requirement, EXTRAS["all"])
    assert everything.name == PROJECT["project"]["name"]
    assert everything.extras == EXTRAS.keys() - {"all", "docs", "test", "dist", "dev"}


def test_every_dependency_of_a_user_has_a_lowest_version_that_make_minimum_installs() -> None:
    command = [sys.executable, ROOT / ".ci" / "minimum.py"]
    pinned = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    lines = [*PROJECT["project"]["dependencies"]]
    for name in EXTRAS.keys() - {"all", "docs", "test", "dist", "dev"}:
        lines += EXTRAS[name]
    for requirement in map(Requirement, lines):
        (bound,) = requirement.specifier
        assert bound.operator == ">="
        assert f"{requirement.name}=={bound.version}" in pinned
