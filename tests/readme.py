"""Writes what the README takes from the code: the commands, the keys, tables of what was measured.

    python tests/readme.py     (make docs)

Each part stands between `<!-- name -->` and `<!-- /name -->`.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from mlpcli.cli.main import cli
from mlpcli.config.settings import KEYS

README = Path(__file__).parent.parent / "README.md"
WIDTH = 94  # characters of a line of help
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
    """What `--help` says of each command, folded."""
    return "\n".join(
        f"<details>\n<summary><code>{name}</code>: {command.get_short_help_str(100)}</summary>\n\n"
        f"```text\n{command.get_help(context)}\n```\n\n</details>"
        for name, command, context in all_commands()
    )


def keys() -> str:
    """A row per key: its default or its names, and what it means."""
    rows = ["| key | default | |", "|---|---|---|"]
    for name, key in KEYS.items():
        names = " ".join(f"**{each}**" if each == key.default else each for each in key.names)
        rows.append(f"| `{name}` | {names or json.dumps(key.default)} | {key.description} |")
    return "\n".join(rows)


def _measured(name: str) -> Callable[[], str]:
    """A table of figures, as the program that measured them recorded them."""

    def table() -> str:
        program = importlib.import_module(name)
        text: str = program.table(json.loads(program.RESULTS.read_text()))
        return text

    return table


PARTS: dict[str, Callable[[], str]] = {
    "results": _measured("results"),
    "ablation": _measured("ablation"),
    "sweep": _measured("sweep"),
    "keys": keys,
    "commands": commands,
}


def written(text: str) -> str:
    """Return the README's text with every part as it should be."""
    for name, part in PARTS.items():
        start, end = f"<!-- {name} -->\n", f"\n<!-- /{name} -->"
        if text.count(start) != 1 or text.count(end) != 1:
            sys.exit(f"README.md: expected one part between {start.strip()} and {end.strip()}")
        before, _, rest = text.partition(start)
        text = before + start + part() + end + rest.partition(end)[2]
    return text


if __name__ == "__main__":
    sys.path.append(str(README.parent / "benchmarks"))
    README.write_text(written(README.read_text()))
