"""Options and output that several commands share."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import logging
import math
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlpcli.config import shipped
from mlpcli.errors import ConfigError, MlpcliError, printable
from mlpcli.files import expanded, replacing, writing
from mlpcli.runs import folder as runs

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


class _Output(click.Path):
    """A path whose `~` is resolved, also where no shell has done it; not an empty one."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Path:
        if not str(value):  # of a shell's variable that is not set
            raise ConfigError("found an empty text, expected a path")
        return expanded(value)


class _Path(_Output):
    """A path of what exists, or of a folder; not a link that leads nowhere."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Path:
        path = super().convert(value, param, ctx)
        if path.is_symlink() and not path.exists():
            raise ConfigError(f"{path}: a broken link, to {path.readlink()}")
        return path


class _Input(_Path):
    """A path to read, or `-` for standard input."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Path:
        if str(value) != "-":
            return super().convert(value, param, ctx)
        if not Path("/dev/stdin").exists():
            raise ConfigError("-: standard input is closed")
        return Path("/dev/stdin")


PATH, INPUT, OUTPUT = _Path(), _Input(), _Output()


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


def require(config: Path | None, example: str) -> Path:
    """Return CONFIG; raises ConfigError where it was left out."""
    if config is None:
        command = click.get_current_context().command_path
        what = command.removeprefix("mlpcli ")
        raise ConfigError(f"{what}: CONFIG is missing", hint=f"{command} {example}")
    return config


@contextlib.contextmanager
def unless_for(other: str, file: Path, load: Callable[[Path], object]) -> Iterator[None]:
    """Wrap the reading of a file; raises ConfigError naming the `other` command that takes it."""
    try:
        yield
    except ConfigError:
        try:
            load(file)
        except ConfigError:
            pass
        else:
            kinds = ["a configuration", "a sweep's file"]
            expected, found = kinds if other == "sweep" else reversed(kinds)
            hint = f"mlpcli {other} {shlex.quote(str(file))}"
            raise ConfigError(f"{file}: found {found}, expected {expected}", hint=hint) from None
        raise


def _complete_config(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    """Propose files and shipped configurations, and keys after them."""
    from click.shell_completion import CompletionItem

    if ctx.params.get(param.name or ""):
        return _complete_set(ctx, param, incomplete)
    names = [name for name in shipped.paths() if name.startswith(incomplete)]
    return [*map(CompletionItem, names), CompletionItem(incomplete, type="file")]


def configuration(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command its CONFIG, as a path or None, and `sets`: typed as KEY=VALUE or by `--set`.

    CONFIG may be a file, the name of a shipped configuration, or a run's folder; that of a run in
    `runs` too.
    """

    @click.argument(
        "words", metavar="[CONFIG] [KEY=VALUE]...", nargs=-1, shell_complete=_complete_config
    )
    @click.option(
        "--set",
        "sets",
        metavar="KEY=VALUE",
        multiple=True,
        shell_complete=_complete_set,
        help="The same as KEY=VALUE: sets a key, as in optimizer.learning_rate=0.05.",
    )
    @functools.wraps(command)
    def with_config(words: tuple[str, ...], sets: tuple[str, ...], **rest: Any) -> Any:
        config = None
        if words and ("=" not in words[0] or Path(words[0]).exists()):
            word, words = words[0], words[1:]
            config = Path(word)
            if word not in shipped.paths():
                config = runs.find(INPUT.convert(word, None, None), rest.get("runs_dir"))
                _refuse_part_of_run(config, word)
        return command(config=config, sets=(*sets, *words), **rest)

    return with_config


def _refuse_part_of_run(path: Path, word: str) -> None:
    """Raise ConfigError where CONFIG is a file of a run, such as a checkpoint, but not its own."""
    run = runs.containing(path)
    if run is None or path == run.folder or path.suffix in (".yaml", ".yml"):
        return
    folder, line = str(run.folder), command_line()
    resumes = path.suffix == ".npz" and click.get_current_context().info_name == "train"
    at = line.index(word)
    line[at : at + 1] = ["--resume", folder] if resumes else [folder]
    raise ConfigError(
        f"{path}: found a part of the run {folder}, expected a configuration", hint=shlex.join(line)
    )


def command_line(*more: str) -> list[str]:
    """Return this call of mlpcli as words, with more of them right after the command's name."""
    ctx = click.get_current_context()
    path, words = ctx.command_path.split(), list(ctx.find_root().obj or ())
    at = words.index(path[-1]) + 1 if path[-1] in words else 0
    return ["mlpcli", *words[:at], *more, *words[at:]]


data_dir = click.option(
    "--data-dir",
    metavar="DIR",
    type=PATH,
    help="Data set directory.  [default: $MLPCLI_DATA_DIR, or ~/.cache/mlpcli]",
)
runs_dir = click.option(
    "--runs-dir",
    metavar="DIR",
    default="runs",
    show_default=True,
    type=PATH,
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
def needs(*packages: str) -> Iterator[None]:
    """Wrap the import of optional packages; raises MlpcliError if one is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MlpcliError(
            f"{click.get_current_context().info_name} needs {error.name}, which is not installed",
            hint=f"{_installer()} {' '.join(packages)}",
        ) from None


def _installer() -> str:
    """Return the command that installs packages where this program runs."""
    folder = Path(sys.prefix)
    if (folder / "pipx_metadata.json").exists():
        return f"pipx inject {shlex.quote(folder.name)}"
    if importlib.util.find_spec("pip") is None:  # an environment made by uv
        return f"uv pip install --python {shlex.quote(sys.executable)}"
    if Path(shutil.which("pip") or "").parent == Path(sys.executable).parent:
        return "pip install"
    return f"{shlex.quote(sys.executable)} -m pip install"


def write(file: Path, content: bytes, *, chosen: bool = True) -> None:
    """Write a file, or to standard output if it is `-`; raises MlpcliError where it cannot be.

    A link stays one, and a pipe, a device or what is open already, as /dev/stdout is, is written
    to. The hint for a file that the user has not `chosen` is to choose one, by `--out`.
    """
    if str(file) == "-":
        sys.stdout.buffer.write(content)
        return
    if _is_stream(file):
        with writing(file), file.open("ab") as stream:
            stream.write(content)
        return
    try:
        with replacing(Path(os.path.realpath(file))) as new:
            new.write(content)
    except MlpcliError as error:
        if not chosen:
            folder = Path() if os.access(".", os.W_OK) else Path(tempfile.gettempdir())
            error.hint = shlex.join(command_line("--out", str(folder / file.name)))
        raise


def _is_stream(file: Path) -> bool:
    """Whether a path stands for a pipe or a device, or for a file that is open already."""
    names = [Path(os.path.realpath(file.parent)), file.readlink() if file.is_symlink() else file]
    special = file.exists() and not (file.is_file() or file.is_dir())
    return special or any(name.is_relative_to("/proc") for name in names)


def print_json(document: dict[str, Any]) -> None:
    """Print a JSON document on standard output; a number that is not finite becomes null."""

    def finite(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: finite(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [finite(inner) for inner in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    click.echo(json.dumps(finite(document), indent=2, allow_nan=False))
