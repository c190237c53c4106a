"""The command `mlpcli`: its subcommands, and the one place where an error becomes a message."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import click

from mlpcli import __version__
from mlpcli.errors import MlpcliError, printable

COMMANDS = {
    "download": "Fetch CIFAR-10 and unpack it.",
    "train": "Train a network from a configuration.",
    "eval": "Evaluate a checkpoint.",
    "predict": "Say what is on pictures.",
    "gradcheck": "Prove the gradients of a configuration.",
    "sweep": "Train a grid of configurations, on all cores or a cluster.",
    "report": "Write a page about runs, to look at.",
    "config": "Show a configuration, or the schema of all.",
}


class Commands(click.Group):
    """Subcommands that are imported when they are called, and not for `--help`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"mlpcli.cli.{name}")
        commands = [value for value in vars(module).values() if isinstance(value, click.Command)]
        return next(command for command in commands if command.name == name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from mlpcli.environment import describe

    facts = describe()
    click.echo(
        f"mlpcli {__version__} (Python {facts['python']}, NumPy {facts['numpy']}, "
        f"BLAS {facts['blas']}, {facts['threads']} threads)"
    )
    ctx.exit()


@click.group(cls=Commands, no_args_is_help=False, invoke_without_command=True)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the versions of mlpcli, Python, NumPy and its BLAS.",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Train plain neural networks on CIFAR-10, every gradient proven."""
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    for name in ("stdout", "stderr"):
        if (stream := getattr(sys, name)) is None:  # closed by whoever called
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - for good
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a narrow encoding must not end a training
    code = run(sys.argv[1:] if arguments is None else arguments)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        try:
            stream.flush()
        except OSError as error:  # a full disk, or a reader that has left
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # for what is still in it
            if name == "stdout":
                code = code or _fail(error, f"standard output: {error.strerror}", None, 1, False)
    sys.exit(code)


def run(arguments: list[str]) -> int:  # noqa: PLR0911 - one return an exit code
    """Run the command line, print an error and its hint, a line each, and return the exit code.

    0 done, 1 local failure, 2 usage or configuration, 3 a check failed, 4 data, 5 checkpoint,
    6 diverged, 7 locked, 128 + n ended by signal n.
    """
    debug = "--debug" in arguments
    try:
        result: Any = cli.main(arguments, prog_name="mlpcli", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except MlpcliError as error:
        return _fail(error, str(error), error.hint, error.exit_code, debug)
    except click.ClickException as error:
        ctx = getattr(error, "ctx", None)
        command = ctx.command_path if ctx else "mlpcli"
        return _fail(error, error.format_message(), f"{command} --help", 2, debug)
    except SystemExit as end:  # click's own: after completion, or as our output's reader has left
        return end.code if isinstance(end.code, int) else 1
    except (click.Abort, KeyboardInterrupt) as error:
        return _fail(error, "interrupted", None, 130, debug)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(error, f"{where}{error.strerror or error}", None, 1, debug)
    except MemoryError as error:
        return _fail(error, "out of memory", None, 1, debug)
    except Exception as error:
        message = f"a bug in mlpcli: {type(error).__name__}: {error}"
        return _fail(error, message, "mlpcli --debug … shows where", 1, debug)


def _fail(error: BaseException, message: str, hint: str | None, code: int, debug: bool) -> int:
    color = False if os.environ.get("NO_COLOR") else None
    with contextlib.suppress(OSError):  # the code tells it where nothing else can
        if debug:
            traceback.print_exception(error)
        click.secho("error: ", fg="red", nl=False, err=True, color=color)
        click.echo(printable(message), err=True)
        if hint:
            click.echo(f"  try: {printable(hint)}", err=True)
    return code
