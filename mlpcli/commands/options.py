"""What several commands share: options, and how a configuration is loaded with them."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import click

from mlpcli import config as configuration
from mlpcli.config import Config
from mlpcli.files import expanded


class _Share(click.FloatRange):
    """A share from 0 to 1; NaN, which no comparison refuses, is refused."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        share = super().convert(value, param, ctx)
        if math.isnan(share):
            self.fail(f"{value} is not in the range 0<=x<=1.", param, ctx)
        return share


SHARE = _Share(0, 1)


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
    callback=lambda ctx, option, value: value and expanded(value),
    help="Where the data set lies.  [default: $MLPCLI_DATA_DIR, or ~/.cache/mlpcli]",
)
as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."
)


def load_config(path: Path, sets: tuple[str, ...], data_dir: Path | None) -> Config:
    """Read a configuration with its `--set` texts; `--data-dir` comes before its `data.dir`."""
    config = configuration.load(path, sets)
    if data_dir is None and config.data.dir is not None:
        data_dir = expanded(Path(config.data.dir))
    return with_data_dir(config, data_dir)


def with_data_dir(config: Config, data_dir: Path | None) -> Config:
    """Put `data_dir`, if given, in the place of `data.dir`, so that it holds from anywhere."""
    if data_dir is None:
        return config
    data = dataclasses.replace(config.data, dir=str(data_dir.absolute()))
    return dataclasses.replace(config, data=data)


def print_json(document: dict[str, Any]) -> None:
    """Print a command's one JSON document."""
    click.echo(json.dumps(document, indent=2, allow_nan=False))
