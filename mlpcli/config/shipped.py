"""The configurations that come with the package."""

from __future__ import annotations

from pathlib import Path

from mlpcli.files import packaged

FOLDER = packaged("configs")


def paths() -> dict[str, Path]:
    """Return the files, by the names they are called by."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def shown(path: Path) -> str:
    """Return how messages name a file: of a shipped one its place in the package, else `path`."""
    return f"mlpcli/configs/{path.name}" if path.parent == FOLDER else str(path)


def description(path: Path) -> list[str]:
    """Return the comment at the top of a file, by line, without the line for editors."""
    lines = []
    for line in path.read_text("utf-8").splitlines():
        if not line.startswith("# "):
            break
        lines.append(line.removeprefix("# "))
    return [line for line in lines if not line.startswith("yaml-language-server:")]
