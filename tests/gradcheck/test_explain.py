"""`gradcheck --explain`: what docs/note.md has, as text for a terminal."""

from __future__ import annotations

import math
import re

import pytest
from conftest import Command

from mlpcli.gradcheck import explain

PAGE = explain.PAGE.read_text()
STEPS, SLIPS = explain.steps(PAGE), explain.slips(PAGE)


def test_every_heading_of_a_step_is_read() -> None:
    assert len(STEPS) == PAGE.count("\n### S") == PAGE.count("\\tag{S") > 20
    assert sum(len(step.code) + 1 for step in STEPS) == PAGE.count(".py#L")


def test_the_steps_are_printed_with_their_code_and_test_and_the_example(mlpcli: Command) -> None:
    done = mlpcli("gradcheck", "--explain")
    assert done.returncode == 0
    for step in STEPS:
        code = "".join(f"    {c.path}:{c.number}  {c.text}\n" for c in step.code)
        test = f"    {step.test.path}::{step.test.text}\n"
        assert f"{step.name}  {step.title}\n    {step.formula}\n{code}{test}" in done.stdout
    assert done.stdout.endswith(f"\nA worked example\n\n{explain.example()}\n")


def test_the_slips_are_printed(mlpcli: Command) -> None:
    done = mlpcli("gradcheck", "--explain", "slips")
    assert done.returncode == 0
    printed = " ".join(done.stdout.split())
    for slip in SLIPS:
        row = f"{slip.place} note {slip.note} true {slip.correct} why {slip.why}"
        assert row.replace("`", "") in printed


@pytest.mark.parametrize("text", [explain.explain_steps(), explain.explain_slips()])
def test_no_line_is_wider_than_a_terminal(text: str) -> None:
    assert max(map(len, text.splitlines())) <= explain.WIDTH


def test_the_example_is_that_of_the_page() -> None:
    assert f"```text\n{explain.example()}\n```" in PAGE


def test_every_row_of_the_table_is_a_slip_with_all_its_cells() -> None:
    table = PAGE.partition("\n## Slips of the note\n")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("|")]
    shown = [f"| {slip.place} | {slip.note} | {slip.correct} | {slip.why} |" for slip in SLIPS]
    assert shown == rows[2:]


def test_a_slip_is_indented_under_its_place() -> None:
    for line in explain.explain_slips().splitlines():
        assert re.match(r"\S|    (note|true|why)  +\S|          \S", line)


def test_another_word_is_refused_with_the_two_that_are_known(mlpcli: Command) -> None:
    done = mlpcli("gradcheck", "--explain", "everything")
    assert done.returncode == 2
    assert "'steps', 'slips'" in done.stderr


def test_no_equation_of_the_note_is_left_out() -> None:
    titles = " ".join(step.title for step in STEPS)
    assert all(number in titles for number in ("(1)", "(2)", "(3)", "(4) to (8)", "(9)"))
    places = {slip.place for slip in SLIPS}
    assert places >= {"after (2)", "after (8)", "(9)", "after (9)", "(10)", "nowhere"}
    for section in ("§2, ", "§2.1, ", "§3, "):
        assert any(place.startswith(section) for place in places)


def test_the_example_says_nothing_exact_of_a_number_that_is_not() -> None:
    assert explain.exact(0.75) == "3/4"
    assert explain.exact(-explain.LN3) == "−ln 3"
    assert explain.exact(0.7500001) == ""
    assert explain.exact(0.0) == "0"
    assert explain.exact(1 / 1000) == "1/1000"
    assert explain.exact(1 / 1001) == ""
    assert explain.half_log(math.log(32 / 9) / 2) == "1/2 ln(32/9)"
    assert explain.half_log(0.7) == ""
