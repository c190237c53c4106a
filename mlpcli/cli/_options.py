"""What several commands share: options, and how a configuration is loaded with them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlpcli.config import loading as configuration
from mlpcli.config.settings import Config
from mlpcli.errors import MlpcliError, printable
from mlpcli.files import expanded

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class _Share(click.FloatRange):
    """A share from 0 to 1; NaN, which no comparison refuses, is refused."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        share = super().convert(value, param, ctx)
        if math.isnan(share):
            self.fail(f"{value} is not in the range 0<=x<=1.", param, ctx)
        return share


SHARE = _Share(0, 1)


def _complete_set(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    """Propose `key=` for the keys, and after `=` the values of a key that has few."""
    from click.shell_completion import CompletionItem

    from mlpcli.config.json_schema import of_keys

    keys = of_keys()
    key, equals, _ = incomplete.partition("=")
    if not equals:
        proposed = {f"{name}=": own["description"] for name, own in keys.items()}
    else:
        proposed = {f"{key}={value}": None for value in _few_values(keys.get(key, {}))}
    return [
        CompletionItem(value, help=text)
        for value, text in proposed.items()
        if value.startswith(incomplete)
    ]


def _few_values(schema: dict[str, Any]) -> list[str]:
    kinds = schema.get("type", ())
    names = list(schema.get("enum", ()))
    return names + ["true", "false"] * ("boolean" in kinds) + ["null"] * ("null" in kinds)


sets = click.option(
    "--set",
    "sets",
    metavar="KEY=VALUE",
    multiple=True,
    shell_complete=_complete_set,
    help="Change a key of the configuration, as in optimizer.learning_rate=0.05.",
)
data_dir = click.option(
    "--data-dir",
    metavar="DIR",
    type=click.Path(path_type=Path),
    callback=lambda ctx, option, value: value and expanded(value),
    help="Where the data set lies.  [default: $MLPCLI_DATA_DIR, or ~/.cache/mlpcli]",
)
runs_dir = click.option(
    "--runs-dir",
    metavar="DIR",
    default="runs",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Where the run's folder is made.",
)
as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."
)


QUIET = "mlpcli.quiet"


def verbosity(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `-q` and `-v`; what it says on the way, it says unless `is_quiet()`."""
    for option in (
        click.option(
            "-v",
            "--verbose",
            is_flag=True,
            expose_value=False,
            callback=_be_verbose,
            help="Say what is read, made and saved, and how long it took.",
        ),
        click.option(
            "-q",
            "--quiet",
            is_flag=True,
            expose_value=False,
            callback=lambda ctx, option, wanted: ctx.meta.update({QUIET: wanted}),
            help="No bars and no lines on the way: warnings, errors and results alone.",
        ),
    ):
        command = option(command)
    return command


def is_quiet() -> bool:
    """Whether the command that runs was called with `-q`."""
    return bool(click.get_current_context().meta.get(QUIET))


def _be_verbose(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        logger = logging.getLogger("mlpcli")
        logger.setLevel(logging.DEBUG)
        logger.handlers = [_AboveBars()]


class _AboveBars(logging.Handler):
    """Prints on standard error, above a bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        with contextlib.suppress(OSError):  # that nobody can read it must not end a training
            tqdm.write(printable(record.getMessage()), file=sys.stderr)


@contextlib.contextmanager
def needs(extra: str) -> Iterator[None]:
    """Import within it what an optional extra brings; raises MlpcliError where it is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MlpcliError(
            f"{click.get_current_context().info_name} needs {error.name}, which is not installed",
            hint=f"pip install 'mlpcli[{extra}]'",
        ) from None


def load_config(path: Path, sets: tuple[str, ...], data_dir: Path | None) -> Config:
    """Read a configuration with its `--set` texts; `--data-dir` comes before its `data.dir`."""
    config = configuration.load(path, sets)
    if data_dir is None and config.data.name == "cifar10" and config.data.dir is not None:
        data_dir = expanded(Path(config.data.dir))
    return with_data_dir(config, data_dir)


def with_data_dir(config: Config, data_dir: Path | None) -> Config:
    """Put `data_dir`, if given, in the place of `data.dir`, so that it holds from anywhere.

    Generated images have no such key, and stay as they are.
    """
    if data_dir is None or config.data.name != "cifar10":
        return config
    data = dataclasses.replace(config.data, dir=str(data_dir.absolute()))
    return dataclasses.replace(config, data=data)


def print_json(document: dict[str, Any]) -> None:
    """Print a command's one JSON document."""
    click.echo(json.dumps(document, indent=2, allow_nan=False))
