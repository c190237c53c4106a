"""What docs/note.md says, as plain text: its steps, its table of slips, and its worked example.

The page is the one source: steps and slips are read from it. The example is computed.
"""

from __future__ import annotations

import math
import re
import textwrap
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpcli.files import packaged
from mlpcli.nn.activations import Activation
from mlpcli.nn.model import Model

WIDTH = 80

PAGE = packaged("docs") / "note.md"

_STEP = re.compile(r"^### (S\d+)\. (.+?)\n(.*?)(?=^##|\Z)", re.DOTALL | re.MULTILINE)
_FORMULA = re.compile(r"^> `([^`]+)`<br>$", re.MULTILINE)
_CODE = re.compile(r"`([\w.]+)`,[\s>]+\[`(.+?)`\]\(\.\./(.+?)#L(\d+)\)")
_TEST = re.compile(r"\[`(test_\w+)`\]\(\.\./(.+?)#L(\d+)\)")


@dataclass(frozen=True)
class Line:
    """A line of code that the page links: the function it is in, its text and its place."""

    function: str
    text: str
    path: str  # from the top of the checkout
    number: int


@dataclass(frozen=True)
class Step:
    """One step of the derivation, and where it is computed and tested."""

    name: str  # S1, S2, …
    title: str
    formula: str
    code: tuple[Line, ...]
    test: Line


@dataclass(frozen=True)
class Slip:
    """An error or a gap in the note."""

    place: str
    note: str
    correct: str
    why: str


def steps(page: str) -> list[Step]:
    """Return the steps of the text of docs/note.md, in its order."""
    found = []
    for name, title, body in _STEP.findall(page):
        (formula,) = _FORMULA.findall(body)
        code = tuple(
            Line(function, text, path, int(number))
            for function, text, path, number in _CODE.findall(body)
        )
        ((test, path, number),) = _TEST.findall(body)
        found.append(Step(name, title, formula, code, Line(test, test, path, int(number))))
    return found


def slips(page: str) -> list[Slip]:
    """Return the rows of the table under "Slips of the note" of the text of docs/note.md."""
    _, _, rest = page.partition("\n## Slips of the note\n")
    rows = [line for line in rest.partition("\n## ")[0].splitlines() if line.startswith("|")]
    return [Slip(*(cell.strip() for cell in row.split("|")[1:-1])) for row in rows[2:]]


def explain_steps() -> str:
    """Return every step with its code and its test, then the worked example. Within WIDTH."""
    lines = [
        "The steps of the derivation, each with its lines of code and its test.",
        "",
    ]
    for step in steps(PAGE.read_text("utf-8")):
        lines += [f"{step.name}  {step.title}", f"    {step.formula}"]
        lines += [f"    {line.path}:{line.number}  {line.text}" for line in step.code]
        lines += [f"    {step.test.path}::{step.test.text}", ""]
    return "\n".join([*lines, "A worked example", "", example()])


def explain_slips() -> str:
    """Return the table of the note's slips, a few lines per row. Within WIDTH."""
    lines = []
    for slip in slips(PAGE.read_text("utf-8")):
        lines.append(slip.place)
        for label, cell in (("note", slip.note), ("true", slip.correct), ("why", slip.why)):
            text = cell.replace("`", "")
            lines += textwrap.wrap(
                text, WIDTH, initial_indent=f"    {label:6}", subsequent_indent=" " * 10
            )
    return "\n".join(lines)


# The worked example: a 2-2-2 network and a batch of two. Weights and biases are multiples of ln 3,
# so pre-activations are 0 or ±ln 3, and their sigmoids 1/2, 3/4 and 1/4.
LN3 = math.log(3)
X = [[1, 2], [-1, 1]]
Y = [[1, 0], [0, 1]]
PARAMS_OVER_LN3 = {
    "W1": [[1, 0], [-1, -1]],
    "b1": [2, 1],
    "W2": [[-2, 0], [-2, -4]],
    "b2": [1, 2],
}


def example_values() -> dict[str, NDArray[np.float64]]:
    """Return the example's quantities by name, each (2, 2) or (2,), and L, (1,).

    They are those of the model that trains, in float64, in the order of computation.
    """
    model = Model((2, 2, 2), batch_size=2, dtype=np.float64)
    network = model.network
    for name, over_ln3 in PARAMS_OVER_LN3.items():
        network.named_params[name][...] = LN3 * np.array(over_ln3)
    values: dict[str, Any] = {"X": np.array(X, float), "Y": np.array(Y, float)}
    values |= network.named_params
    _, sigmoid, _ = network.layers
    T2 = model.forward(values["X"])
    assert isinstance(sigmoid, Activation)
    # Backward reuses the buffers of the forward pass.
    values |= {"T1": sigmoid.T.copy(), "Z": sigmoid.Z.copy(), "T2": T2.copy()}
    values |= {"Ŷ": model.probs(T2).copy(), "L": np.array([model.loss(T2, values["Y"])])}
    G = model.criterion.backward(T2, values["Y"])
    for layer, name in zip(reversed(network.layers), ("G2", "", "G1"), strict=True):
        if name:
            values[name] = G.copy()
            values |= {f"d{p}{name[1]}": network.named_grads[f"{p}{name[1]}"] for p in "Wb"}
        G = layer.backward(G)
    return values


_FORMULAS = {
    "T1": "X W1 + b1",
    "Z": "σ(T1)",
    "T2": "Z W2 + b2",
    "Ŷ": "σ(T2)",
    "L": "Σ ℓ / 2",
    "G2": "(Ŷ − Y) / 2",
    "dW2": "Zᵀ G2",
    "db2": "column sums of G2",
    "G1": "(G2 W2ᵀ) ∘ Z ∘ (1 − Z)",
    "dW1": "Xᵀ G1",
    "db1": "column sums of G1",
}


def example() -> str:
    """Return the example's quantities as text: formula, exact values, decimals."""
    lines = [f"{'exact':>54}{'decimals':>24}"]
    for name, value in example_values().items():
        if name in {"T1", "G2"}:  # the forward pass, the backward pass
            lines.append("")
        label = f"{name} = {_FORMULAS[name]}" if name in _FORMULAS else name
        for row in np.atleast_2d(value):
            cells = [half_log(v) if name == "L" else exact(v) for v in row]
            line = f"{label:28}" + "".join(f"{text:>13}" for text in cells)
            if not all(re.fullmatch(r"−?\d+", text) for text in cells):
                decimals = [f"{round(v, 6) + 0.0:12.6f}" for v in row]
                line = f"{line:54}" + "".join(decimals).replace("-", "−")
            lines.append(line)
            label = ""
    return "\n".join(lines)


def exact(value: float) -> str:
    """Return a number as a fraction, or as one times ln 3; "" where it is neither."""
    for unit, name in ((1.0, ""), (LN3, " ln 3")):
        fraction = Fraction(value / unit).limit_denominator(1000)
        if abs(float(fraction) * unit - value) < 1e-12:
            text = str(fraction).replace("-", "−") + (name if fraction else "")
            return re.sub(r"^(−?)1 ln", r"\1ln", text)
    return ""


def half_log(value: float) -> str:
    """Return a number as ½ ln of a fraction; "" where it is not."""
    fraction = Fraction(math.exp(2 * value)).limit_denominator(1000)
    return f"1/2 ln({fraction})" if abs(math.log(fraction) / 2 - value) < 1e-12 else ""
