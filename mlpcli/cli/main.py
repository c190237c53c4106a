"""The command `mlpcli`: its subcommands, and the one place that turns errors into messages."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import shlex
import sys
import traceback
from pathlib import Path
from typing import Any

import click

from mlpcli import __version__
from mlpcli.cli._group import Group
from mlpcli.errors import MlpcliError, in_one_line, printable

COMMANDS = {
    "download": "Download and unpack CIFAR-10.",
    "train": "Train a network from a configuration.",
    "eval": "Evaluate a checkpoint.",
    "predict": "Classify images.",
    "gradcheck": "Check the gradients of a configuration.",
    "sweep": "Train a grid of configurations, on all cores or a cluster.",
    "runs": "List runs, or compare two configurations.",
    "report": "Write an HTML report.",
    "export": "Write a network for other programs.",
    "config": "List, copy or show configurations.",
}


class Commands(Group):
    """Imports a subcommand when it is called, and none for `--help`."""

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

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand; with `--debug`, print the traceback of an error."""
        try:
            return super().invoke(ctx)
        except click.exceptions.Exit:  # after `--help`
            raise
        except (Exception, KeyboardInterrupt):
            if ctx.params["debug"]:
                with contextlib.suppress(OSError):
                    lines = map(printable, traceback.format_exc().splitlines())
                    click.echo("\n".join(lines), err=True)
            raise


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


@click.group(
    cls=Commands,
    no_args_is_help=False,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
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
    """Train plain neural networks on CIFAR-10, every gradient checked."""
    ctx.color = _color()
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its exit code."""
    for name in ("stdout", "stderr"):
        if (stream := getattr(sys, name)) is None:  # closed by the caller
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - for good
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an encoding error must not end a training
    code = run(sys.argv[1:] if arguments is None else arguments)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        try:
            stream.flush()
        except OSError as error:  # a full disk, or a closed pipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # drops what is buffered
            if name == "stdout":
                code = code or _fail(f"standard output: {error.strerror}", None, 1)
    sys.exit(code)


def run(arguments: list[str]) -> int:  # noqa: PLR0911 - one return per exit code
    """Run the command line, print an error and its hint on one line each, return the exit code.

    0 done, 1 local failure, 2 usage or configuration, 3 a check failed, 4 data, 5 checkpoint,
    6 diverged, 7 locked, 128 + n ended by signal n.
    """
    try:
        result: Any = cli.main(arguments, prog_name="mlpcli", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except MlpcliError as error:
        hint = error.hint
        if isinstance(hint, tuple):
            hint = _again(arguments, hint)
        return _fail(str(error), hint, error.exit_code)
    except click.ClickException as error:
        ctx = getattr(error, "ctx", None)
        if isinstance(error, click.NoSuchOption) and (line := _as_set(error, arguments)):
            return _fail(error.message, line, 2)
        return _fail(error.format_message(), f"{ctx.command_path if ctx else 'mlpcli'} --help", 2)
    except SystemExit as end:  # from Click: after completion, or on a closed pipe
        return end.code if isinstance(end.code, int) else 1
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", None, 130)
    except OSError as error:
        return _fail(in_one_line(error), None, 1)
    except MemoryError:
        return _fail("out of memory", None, 1)
    except Exception as error:
        message = f"a bug in mlpcli: {type(error).__name__}: {error}"
        return _fail(message, shlex.join(["mlpcli", "--debug", *arguments]), 1)


def _color() -> bool | None:
    """Whether output is coloured; None: on a terminal. NO_COLOR counts more than FORCE_COLOR."""
    if os.environ.get("NO_COLOR"):
        return False
    return True if os.environ.get("FORCE_COLOR") else None


def _again(arguments: list[str], options: tuple[str, ...]) -> str:
    """Return the command line with these options, in place of those of the same name."""
    kept, words = [], iter(arguments)
    for word in words:
        if word in options[:1] and options[1:]:
            next(words, None)  # its value
        elif not word.startswith(f"{options[0]}=" if options else "\0"):
            kept.append(word)
    return shlex.join(["mlpcli", *kept, *options])


def _as_set(error: click.NoSuchOption, arguments: list[str]) -> str | None:
    """Return the command line with an option that names a key, as `--lr 0.1`, given by `--set`."""
    from mlpcli.config.settings import ABBREVIATIONS, KEYS

    name = error.option_name.lstrip("-").replace("-", "_")
    name = ABBREVIATIONS.get(name, name)
    keys = [key for key in KEYS if name in (key, key.rpartition(".")[2])]
    options = error.ctx.command.params if error.ctx else []
    if len(keys) != 1 or not any(option.name == "sets" for option in options):
        return None
    at = next(i for i, word in enumerate(arguments) if word.startswith(error.option_name))
    value = [*arguments[at].split("=", 1)[1:], *arguments[at + 1 :]]
    if not value:
        return None
    return shlex.join(["mlpcli", *arguments[:at], "--set", f"{keys[0]}={value[0]}", *value[1:]])


def _fail(message: str, hint: str | None, code: int) -> int:
    color = _color()
    with contextlib.suppress(OSError):  # the exit code still tells it
        click.secho("error: ", fg="red", nl=False, err=True, color=color)
        click.echo(printable(message), err=True)
        if hint:
            click.echo(f"  try: {printable(hint)}", err=True)
    return code
