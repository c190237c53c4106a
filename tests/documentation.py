"""The pages of the documentation, and the parts of them that come from the code.

    python tests/documentation.py     (make docs)

Such a part is between `<!-- name -->` and `<!-- /name -->`: the commands, the keys, the shipped
configurations, the layers of packages, the worked example, and the tables of what was measured.
Links to lines of code get the number of the line that they quote.
"""

from __future__ import annotations

import ast
import importlib
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from mlpcli.cli.main import cli
from mlpcli.config.settings import KEYS
from mlpcli.gradcheck.explain import example

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
WIDTH = 80  # characters of a line of help: what a block on the site shows
Commands = Iterator[tuple[str, click.Command, click.Context]]


def all_commands(group: click.Group = cli, parent: click.Context | None = None) -> Commands:
    """Yield every command with its whole name, those of groups too."""
    context = click.Context(group, parent, info_name=group.name if parent else "mlpcli")
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        own = click.Context(command, context, info_name=name, max_content_width=WIDTH)
        own.terminal_width = WIDTH
        if isinstance(command, click.Group):
            yield from all_commands(command, context)
        else:
            yield own.command_path, command, own


def commands() -> str:
    """What `--help` says of each command."""
    return "\n\n".join(
        f"## {name}\n\n```text\n{command.get_help(context)}\n```"
        for name, command, context in all_commands()
    )


def keys() -> str:
    """A row per key: its default or its names, and what it means."""
    rows = ["| key | default | |", "|---|---|---|"]
    for name, key in KEYS.items():
        names = " ".join(f"**{each}**" if each == key.default else each for each in key.names)
        rows.append(f"| `{name}` | {names or json.dumps(key.default)} | {key.description} |")
    return "\n".join(rows)


def configurations() -> str:
    """A row per shipped configuration: the first sentence of its file."""
    rows = ["| name | what it is |", "|---|---|"]
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        _, first, *_ = path.read_text().splitlines()
        rows.append(f"| `{path.stem}` | {first.removeprefix('# ')} |")
    return "\n".join(rows)


def layers() -> str:
    """The layers of packages, each of which imports from those below, as import-linter has them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (contract,) = project["tool"]["importlinter"]["contracts"]
    return "\n".join(["```text", *contract["layers"], "```"])


def _measured(program: str, table: str = "table") -> Callable[[], str]:
    """A table of figures, as the program that measured them recorded them."""

    def written() -> str:
        module = importlib.import_module(program)
        text: str = getattr(module, table)(json.loads(module.RESULTS.read_text()))
        return text

    return written


PARTS: dict[str, Callable[[], str]] = {
    "accuracies": _measured("results", "short_table"),
    "results": _measured("results"),
    "ablation": _measured("ablation"),
    "sweep": _measured("sweep"),
    "configurations": configurations,
    "keys": keys,
    "layers": layers,
    "commands": commands,
    "example": lambda: f"```text\n{example()}\n```",
}

# `Class.function`, [`a line of it`](../file.py#L1) and [`test_name`](../file.py#L1)
LINK = re.compile(r"(?:`([\w.]+)`,([\s>]+))?\[`([^`]+)`\]\(\.\./([\w/]+\.py)#L\d+\)")


def _linked(found: re.Match[str]) -> str:
    """A link to a line of code or to a test, with the number of its line."""
    function, gap, line, path = found.groups()
    source = (ROOT / path).read_text()
    first, last = _span(source, function or line, path)
    quoted = line if function else f"def {line}("
    lines = source.splitlines()
    at = [k for k in range(first, last + 1) if lines[k - 1].strip().startswith(quoted)]
    if len(at) != 1:
        raise LookupError(f"{path}: {quoted!r} starts {len(at)} lines of {function}, expected 1")
    start = f"`{function}`,{gap}" if function else ""
    return f"{start}[`{line}`](../{path}#L{at[0]})"


def _span(source: str, function: str, path: str) -> tuple[int, int]:
    """The first and the last line of a function, named with its class."""
    node: ast.AST = ast.parse(source)
    for name in function.split("."):
        inside = [n for n in ast.iter_child_nodes(node) if getattr(n, "name", None) == name]
        if len(inside) != 1:
            raise LookupError(f"{path}: {function} is defined {len(inside)} times, expected 1")
        node = inside[0]
    assert isinstance(node, ast.FunctionDef)
    return node.lineno, node.end_lineno or node.lineno


def written(text: str) -> str:
    """Return a page's text with the parts and the links that it has as they should be.

    Raises LookupError for a link to a line that is not there, or is there twice.
    """
    text = LINK.sub(_linked, text)
    for name, part in PARTS.items():
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        if start in text:
            before, _, rest = text.partition(start)
            _, found, after = rest.partition(end)
            if not found:
                sys.exit(f"expected {end} after {start.strip()}")
            text = before + start + part() + "\n" + end + after
    return text


if __name__ == "__main__":
    sys.path.append(str(ROOT / "benchmarks"))
    for page in PAGES:
        page.write_text(written(page.read_text()))
