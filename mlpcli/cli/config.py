"""`mlpcli config`: what a configuration comes to and why, and the schema of all of them."""

from __future__ import annotations

from pathlib import Path

import click

from mlpcli.cli import _options as options
from mlpcli.config import loading as configuration


@click.group(invoke_without_command=True, no_args_is_help=False)
@click.pass_context
def config(ctx: click.Context) -> None:
    """Show a configuration, or the schema of all.

    \b
    mlpcli config show configs/best.yaml
    mlpcli config schema > configs/schema.json
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@config.command(short_help="Show every value, and where it comes from.")
@click.argument("config", type=click.Path(path_type=Path))
@options.sets
@options.as_json
@options.verbosity
def show(config: Path, sets: tuple[str, ...], as_json: bool) -> None:
    """Show every value of CONFIG, and the line, the --set or the default that it comes from.

    What is printed is a configuration of its own.

    \b
    mlpcli config show configs/best.yaml
    mlpcli config show configs/note.yaml --set training.epochs=5 > five.yaml
    mlpcli config show configs/note.yaml --json
    """
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
    mlpcli config schema > configs/schema.json
    mlpcli config schema --sweep > configs/sweep-schema.json
    """
    from mlpcli.config.json_schema import of_config
    from mlpcli.sweep.schema import of_sweep

    options.print_json(of_sweep() if sweep else of_config())
