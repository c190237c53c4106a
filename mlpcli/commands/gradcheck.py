"""`mlpcli gradcheck`: a configuration's gradients, tensor by tensor."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from mlpcli import environment
from mlpcli.commands import options
from mlpcli.errors import CheckFailedError


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@options.sets
@options.data_dir
@options.as_json
def gradcheck(config: Path, sets: tuple[str, ...], data_dir: Path | None, as_json: bool) -> None:
    """Check the gradients of the network and loss of CONFIG.

    Each tensor's analytic gradient is held against the complex step and against central
    differences, on a few images of the configured data. Exits with 3 if one is wrong.

    \b
    mlpcli gradcheck configs/note.yaml
    mlpcli gradcheck configs/smoke.yaml --set model.hidden=[64,32] --set model.activation=relu
    """
    settings = options.load_config(config, sets, data_dir)
    environment.set_threads(settings.threads)

    from mlpcli import gradcheck as checker
    from mlpcli.cifar10 import dataset

    checks = checker.check(settings, dataset.load_train_val(settings.data))
    wrong = [check.name for check in checks if not check.passed]
    if as_json:
        tensors = [asdict(check) | {"passed": check.passed} for check in checks]
        options.print_json({"passed": not wrong, "tensors": tensors})
    else:
        click.echo("tensor  shape        entries  complex step  direction  central  kinks  verdict")
        for check in checks:
            shape = "×".join(map(str, check.shape))
            click.echo(
                f"{check.name:6}  {shape:11}  {check.entries:7}  {check.complex_error:12.1e}"
                f"  {check.direction_error:9.1e}  {check.central_error:7.1e}  {check.kinks:5}"
                f"  {'right' if check.passed else 'WRONG'}"
            )
    if wrong:
        raise CheckFailedError(f"{config}: the gradient of {', '.join(wrong)} is wrong")
