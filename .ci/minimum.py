"""Prints the lowest version of each package that pyproject.toml promises to work with."""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

NOT_TESTED = {"dev", "dist"}  # PyTorch, which is large, and what never runs beside mlpcli

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
lines = list(project["dependencies"])
for name, extra in project["optional-dependencies"].items():
    if name not in NOT_TESTED:
        lines += extra
for line in lines:
    requirement = Requirement(line)
    for bound in requirement.specifier:
        print(f"{requirement.name}=={bound.version}")
