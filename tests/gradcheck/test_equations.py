"""The map of the note: every equation has its line and its test, and both exist."""

from __future__ import annotations

import re

import pytest
from conftest import ROOT, Command

from mlpcli.gradcheck.equations import EQUATIONS, Equation


@pytest.mark.parametrize("equation", EQUATIONS, ids=lambda equation: equation.place)
def test_the_line_that_computes_it_exists(equation: Equation) -> None:
    path, number = equation.location()
    line = (ROOT / path).read_text().splitlines()[number - 1]
    assert line.strip().startswith(equation.line)


@pytest.mark.parametrize("equation", EQUATIONS, ids=lambda equation: equation.place)
def test_the_test_that_proves_it_exists(equation: Equation) -> None:
    file, _, name = equation.test.partition("::")
    assert f"def {name}(" in (ROOT / "tests" / file).read_text()


def test_a_line_that_is_gone_is_said() -> None:
    gone = Equation("(0)", "", "", "", "nn.layers:Dense.forward", "no such line", "")
    with pytest.raises(LookupError, match="stands 0 times"):
        gone.location()
    with pytest.raises(LookupError, match="does not exist"):
        Equation("(0)", "", "", "", "nn.layers:Dense.nothing", "", "").location()


def test_no_equation_of_the_note_is_left_out() -> None:
    places = " ".join(equation.place for equation in EQUATIONS)
    for number in range(1, 11):
        assert f"({number})" in places
    for unnumbered in ("t₁", "z₁", "ŷ", "L", "ŷᵢ", "dW²", "db²"):
        assert f"§2, {unnumbered}" in places
    for unnumbered in ("L₀", "∂L₀/∂W₀¹", "∂L/∂W₀¹", "∂L/∂W¹"):
        assert f"§3, {unnumbered}" in places
    for missing in ("after (2)", "after (8)", "after (9)", "db¹", "dW¹ of a batch", "the mean"):
        assert missing in places


def test_the_map_is_printed_within_reason(mlpcli: Command) -> None:
    done = mlpcli("gradcheck", "--explain")
    assert done.returncode == 0
    for equation in EQUATIONS:
        assert f"{equation.place}: {equation.verdict}\n" in done.stdout
        assert equation.truth in done.stdout
    assert re.search(r"code   mlpcli/nn/layers\.py:\d+  np\.dot\(self\.X\.T, G", done.stdout)
