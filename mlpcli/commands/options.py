"""What several commands share: options, and how a configuration is loaded with them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from mlpcli import config as configuration

sets = click.option(
    "--set",
    "sets",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change a key of the configuration, as in optimizer.learning_rate=0.05.",
)
data_dir = click.option(
    "--data-dir",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where the data set lies.  [default: $MLPCLI_DATA_DIR, or ~/.cache/mlpcli]",
)
as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."
)


def load_config(
    path: Path, sets: tuple[str, ...], data_dir: Path | None
) -> configuration.Config:  # fmt: skip
    """Read a configuration with its `--set` texts; `--data-dir` comes before its `data.dir`."""
    config = configuration.load(path, sets)
    return with_data_dir(config, data_dir)


def with_data_dir(config: configuration.Config, data_dir: Path | None) -> configuration.Config:
    """Put `--data-dir`, if given, in the place of `data.dir`."""
    if data_dir is None:
        return config
    data = dataclasses.replace(config.data, dir=str(data_dir.absolute()))
    return dataclasses.replace(config, data=data)


def print_json(document: dict[str, Any]) -> None:
    """Print a command's one JSON document."""
    click.echo(json.dumps(document, indent=2, allow_nan=False))
