"""A group of commands that answers a misspelt name with the nearest one."""

from __future__ import annotations

import difflib
import shlex

import click

from mlpcli.errors import ConfigError


class Group(click.Group):
    """A group of commands; raises ConfigError for a name that is near one of them."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, names = args[0], self.list_commands(ctx)
        near = [] if name in names else difflib.get_close_matches(name, names, 1)
        if near and not ctx.resilient_parsing:
            raise ConfigError(
                f"No such command '{name}'; did you mean {near[0]}?",
                hint=shlex.join([*ctx.command_path.split(), near[0], *args[1:]]),
            )
        return super().resolve_command(ctx, args)
