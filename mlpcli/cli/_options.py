"""Options and output that several commands share."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlpcli.errors import MlpcliError, printable

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class _Share(click.FloatRange):
    """A number from 0 to 1, and not NaN, which `FloatRange` accepts."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        share = super().convert(value, param, ctx)
        if math.isnan(share):
            self.fail(f"{value} is not in the range 0<=x<=1.", param, ctx)
        return share


SHARE = _Share(0, 1)


def _complete_set(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    """Propose `key=` for each key that matches; if only one does, `key=DEFAULT` beside it.

    The second proposal keeps bash and zsh from adding a space after the `=`.
    """
    from click.shell_completion import CompletionItem

    from mlpcli.config.json_schema import of_keys

    keys = {key: own for key, own in of_keys().items() if key.startswith(incomplete)}
    items = [CompletionItem(f"{key}=", help=own["description"]) for key, own in keys.items()]
    if len(items) == 1:
        (key, own), *_ = keys.items()
        items.append(CompletionItem(f"{key}={json.dumps(own['default'])}", help="the default"))
    return items


sets = click.option(
    "--set",
    "sets",
    metavar="KEY=VALUE",
    multiple=True,
    shell_complete=_complete_set,
    help="Set a key of the configuration, as in optimizer.learning_rate=0.05.",
)
data_dir = click.option(
    "--data-dir",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Data set directory.  [default: $MLPCLI_DATA_DIR, or ~/.cache/mlpcli]",
)
runs_dir = click.option(
    "--runs-dir",
    metavar="DIR",
    default="runs",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Directory in which run folders are made.",
)
as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."
)


QUIET = "mlpcli.quiet"


def verbosity(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `-q` and `-v` to a command; `is_quiet()` returns whether `-q` was given."""
    for option in (
        click.option(
            "-v",
            "--verbose",
            is_flag=True,
            expose_value=False,
            callback=_be_verbose,
            help="Log what is read and saved, with timings.",
        ),
        click.option(
            "-q",
            "--quiet",
            is_flag=True,
            expose_value=False,
            callback=lambda ctx, option, wanted: ctx.meta.update({QUIET: wanted}),
            help="Hide progress output: print only warnings, errors and results.",
        ),
    ):
        command = option(command)
    return command


def is_quiet() -> bool:
    """Return whether the current command was called with `-q`."""
    return bool(click.get_current_context().meta.get(QUIET))


def _be_verbose(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        logger = logging.getLogger("mlpcli")
        logger.setLevel(logging.DEBUG)
        logger.handlers = [_AboveBars()]


class _AboveBars(logging.Handler):
    """Prints log lines on standard error, above a bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        with contextlib.suppress(OSError):  # a closed standard error must not end a training
            tqdm.write(printable(record.getMessage()), file=sys.stderr)


@contextlib.contextmanager
def needs(extra: str) -> Iterator[None]:
    """Wrap the import of an optional extra; raises MlpcliError if it is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MlpcliError(
            f"{click.get_current_context().info_name} needs {error.name}, which is not installed",
            hint=f"pip install 'mlpcli[{extra}]'",
        ) from None


def print_json(document: dict[str, Any]) -> None:
    """Print a JSON document on standard output; a number that is not finite becomes null."""

    def finite(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: finite(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [finite(inner) for inner in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    click.echo(json.dumps(finite(document), indent=2, allow_nan=False))
