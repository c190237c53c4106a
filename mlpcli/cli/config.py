"""`mlpcli config`: the shipped configurations, what one comes to and why, the schema of all."""

from __future__ import annotations

import os
import shlex
from itertools import count
from pathlib import Path

import click

from mlpcli.cli import _options as options
from mlpcli.cli._group import Group
from mlpcli.config import loading as configuration
from mlpcli.config import shipped
from mlpcli.errors import ConfigError
from mlpcli.sweep import plan as sweeps


@click.group(cls=Group, invoke_without_command=True, no_args_is_help=False)
@click.pass_context
def config(ctx: click.Context) -> None:
    """List, copy or show configurations, or print their schema.

    \b
    mlpcli config list
    mlpcli config copy fast
    mlpcli config show best
    mlpcli config schema > schema.json
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@config.command("list", short_help="List the shipped configurations.")
def list_shipped() -> None:
    """List the shipped configurations: what each is, and what it reaches.

    \b
    mlpcli config list
    """
    known = shipped.paths()
    width = max(map(len, known)) + 2
    for name, path in known.items():
        first, *more = shipped.description(path)
        click.echo(f"{name:{width}}{first}")
        for line in more:
            click.echo(f"{'':{width}}{line}")


@config.command(short_help="Copy a shipped configuration, to edit it.")
@click.argument("name", type=click.Choice(list(shipped.paths())), metavar="NAME")
@click.argument("file", required=False, type=options.OUTPUT)
def copy(name: str, file: Path | None) -> None:
    """Copy the shipped configuration NAME to FILE, by default NAME.yaml here, to edit it.

    Its first line names the JSON Schema, by which editors complete and check keys. An existing file
    is not replaced; - is standard output.

    \b
    mlpcli config copy fast
    mlpcli config copy fast mine.yaml
    """
    file = file or Path(f"{name}.yaml")
    if file.is_dir():
        file /= f"{name}.yaml"
    if os.path.lexists(file):
        other = next(path for i in count(2) if not (path := file.with_stem(f"{name}-{i}")).exists())
        copied = shlex.join(["mlpcli", "config", "copy", name, str(other)])
        raise ConfigError(f"{file}: exists, and is not replaced", hint=copied)
    text = (
        shipped.paths()[name].read_text("utf-8").replace("$schema=", f"$schema={shipped.FOLDER}/")
    )
    options.write(file, text.encode())
    if str(file) != "-":
        command = "sweep" if "sweep-schema" in text else "train"
        click.echo(f"{file}: edit it, then\n  {shlex.join(['mlpcli', command, str(file)])}")


@config.command(short_help="Show every value, and where it comes from.")
@options.configuration
@options.as_json
@options.verbosity
def show(config: Path | None, sets: tuple[str, ...], as_json: bool) -> None:
    """Show every value of CONFIG, and the line, the --set or the default that it comes from.

    What is printed is a configuration of its own.

    \b
    mlpcli config show best
    mlpcli config show note training.epochs=5 > five.yaml
    mlpcli config show note --json
    """
    config = options.require(config, "smoke")
    with options.unless_for("sweep", config, sweeps.load):
        values = configuration.resolve(config, sets)
    if as_json:
        options.print_json(
            {key: {"value": found.value, "origin": found.origin} for key, found in values.items()}
        )
    else:
        click.echo(configuration.to_commented_yaml(values), nl=False)


@config.command(short_help="Print the JSON Schema, for editors.")
@click.option("--sweep", is_flag=True, help="That of a sweep's file instead.")
@options.verbosity
def schema(sweep: bool) -> None:
    """Print the JSON Schema of a configuration, for editors to complete and check it by.

    A file whose first line is `# yaml-language-server: $schema=schema.json` names the one beside
    it.

    \b
    mlpcli config schema > schema.json
    mlpcli config schema --sweep > sweep-schema.json
    """
    from mlpcli.config.json_schema import of_config
    from mlpcli.sweep.schema import of_sweep

    options.print_json(of_sweep() if sweep else of_config())
