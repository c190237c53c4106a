"""The documentation: its blocks run, its links lead somewhere, its generated parts are up to date.

The page `quickstart.md` and the README are followed in a folder with a small data set and some
images; the other pages in a copy of what the quickstart leaves. The Python blocks of a page are
one program. A block after the comment `<!-- not run: reason -->` is parsed only.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import pytest
import yaml
from conftest import write_shapes
from documentation import DOCS, PAGES, ROOT, written
from faults import ROWS
from PIL import Image

from mlpcli import errors
from mlpcli.cifar10 import synthetic
from mlpcli.cli.main import cli
from mlpcli.config.settings import KEYS
from mlpcli.runs import checkpoint
from mlpcli.sweep import plan as sweeps

README, CONTRIBUTING, QUICKSTART = PAGES[0], PAGES[1], DOCS / "quickstart.md"
BLOCK = re.compile(
    r'(?:^<!-- not run: (.+?) -->\n)?^```(\w*)(?: title="(.+?)")?\n(.*?)^```$',
    re.DOTALL | re.MULTILINE,
)


class Block(NamedTuple):
    page: Path
    line: int
    not_run: str | None  # the reason
    kind: str
    title: str | None  # of a file
    text: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(page, text.count("\n", 0, found.start(4)), *found.groups())
        for found in BLOCK.finditer(text)
    ]


def by_name(page: Path) -> str:
    return page.name


def prose(page: Path) -> str:
    return BLOCK.sub("", page.read_text())


def lines(block: Block) -> list[str]:
    """The commands of a shell block, of a transcript, or of the steps of a workflow."""
    if block.kind == "console":
        return [command for command, _ in transcript(block)]
    text = block.text
    if block.kind == "yaml":
        steps = yaml.safe_load(text)
        text = "\n".join(step["run"] for step in steps) if isinstance(steps, list) else ""
    elif block.kind != "sh":
        return []
    return [line for line in text.replace("\\\n", "").splitlines() if line]


def transcript(block: Block) -> list[tuple[str, str]]:
    """Each command of a transcript with what it prints."""
    commands = re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]
    return [(command, printed) for command, _, printed in (c.partition("\n") for c in commands)]


# What is shown runs.


@pytest.fixture(scope="module", autouse=True)
def _one_core() -> Iterator[None]:
    """Threads of one matrix product wait for each other where other programs run as well."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("data"), batch_rows=1100)  # 5,000 are held out


@pytest.fixture(scope="module")
def after_quickstart(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A folder in which somebody has followed the quickstart."""
    home = tmp_path_factory.mktemp("quickstart")
    follow(QUICKSTART, home, data)
    return home


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_every_block_of_a_page_runs(
    page: Path, tmp_path: Path, data: Path, request: pytest.FixtureRequest
) -> None:
    if page == README:
        follow(page, tmp_path, data)
        return
    after_quickstart: Path = request.getfixturevalue("after_quickstart")
    if page != QUICKSTART:
        follow(page, shutil.copytree(after_quickstart, tmp_path / "home"), data)


def follow(page: Path, home: Path, data: Path) -> None:
    """Run all blocks of a page, from top to bottom, in the folder `home`."""
    image = synthetic.draw(1, np.random.default_rng(0))[0][0]
    Image.fromarray(image.reshape(3, 32, 32).transpose(1, 2, 0)).save(home / "cat.jpg")
    program = ""
    for block in blocks(page):
        if block.not_run:
            continue
        if block.title:
            (home / block.title).write_text(block.text)
        elif block.kind == "python":
            program += "\n" * (block.line - program.count("\n")) + block.text
        elif block.kind == "console":
            for command, printed in transcript(block):
                assert words(run(command, home, data)) == words(printed), block
        else:
            for line in lines(block):
                if line.startswith("mlpcli "):
                    run(line, home, data)
    if program and page != README:  # its five lines have a test of their own
        (home / f"{page.name}.py").write_text(program)  # with the numbers of lines of the page
        run(f"python -W error {page.name}.py", home, data)


def run(line: str, home: Path, data: Path) -> str:
    """Run a line of shell that exits as it says; return what it prints, to both streams."""
    expected = int((re.search(r"# exits with (\d)", line) or ["", "0"])[1])
    commands = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": commands, "MLPCLI_DATA_DIR": str(data)}
    done = subprocess.run(
        ["sh", "-c", line],
        cwd=home,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == expected, f"{line}\n{done.stdout}"
    return done.stdout


def words(printed: str) -> list[str]:
    """What is printed by line, without the numbers, which differ from machine to machine."""
    text = re.sub(r"\d[\d.,]*(e[-+]\d+)?|  best$", "", printed, flags=re.MULTILINE)
    return [" ".join(re.findall(r"\w+", line)) for line in text.splitlines()]


@pytest.mark.slow
def test_five_lines_of_numpy_classify_an_image(
    after_quickstart: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(after_quickstart)
    (code,) = [block.text for block in blocks(README) if block.kind == "python"]
    images, _ = synthetic.draw(20, np.random.default_rng(0))
    saved = checkpoint.load(Path("runs/smoke-1/checkpoints/best.npz"))
    logits = saved.model(20).forward((images / 255).astype(np.float32))
    for image in images:
        exec(code, {"image": image})
    printed = capsys.readouterr().out.split("\n")[:-1]
    assert printed == [saved.label_names[k] for k in logits.argmax(axis=1)]
    assert len(set(printed)) > 2


def test_the_sweep_of_the_page_is_what_it_says(tmp_path: Path) -> None:
    (block,) = [block for block in blocks(DOCS / "sweeps.md") if block.title]
    (tmp_path / "draws.yaml").write_text(block.text)
    assert len(sweeps.load(tmp_path / "draws.yaml").trials) == 2 * 20 * 3


# What is not run exists.


def commands_that_are_not_run() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for block in blocks(page):
            if block.not_run:
                yield from ((page.name, line) for line in lines(block))
        for code in re.findall(r"`(mlpcli [a-z][^`…]*)`", prose(page)):
            yield page.name, code


@pytest.mark.parametrize(("where", "line"), sorted(set(commands_that_are_not_run())))
def test_a_command_that_is_not_run_exists(where: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    if words[0] != "mlpcli":
        return
    command, context = cli, cli.make_context("mlpcli", ["--help"], resilient_parsing=True)
    arguments = words[1:]
    while isinstance(command, click.Group):
        name, *arguments = arguments
        found = command.get_command(context, name)
        assert found, f"{where}: {line}"
        command = found
        if not arguments:  # a mention of the command
            return
    command.make_context(name, arguments)


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_make_targets_programs_and_extras_exist(page: Path) -> None:
    text, makefile = page.read_text(), (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for program in re.findall(r"python ([\w/]+\.py)", text):
        assert (ROOT / program).is_file(), program
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extra in re.findall(r"'\.\[(\w+)\]'", text):
        assert extra in project["optional-dependencies"]


def test_every_package_is_described() -> None:
    text = (DOCS / "architecture.md").read_text()
    for module in (ROOT / "mlpcli").glob("*/__init__.py"):
        assert f"| `mlpcli/{module.parent.name}` |" in text


def test_exit_codes_are_those_of_the_errors() -> None:
    documented = set(re.findall(r"^\| (\d) \|", (DOCS / "ci.md").read_text(), re.MULTILINE))
    raised = {value.exit_code for value in vars(errors).values() if hasattr(value, "exit_code")}
    assert {str(code) for code in raised} <= documented


def test_keys_in_the_text_are_keys() -> None:
    sections = "|".join({name.partition(".")[0] for name in KEYS if "." in name})
    for page in PAGES:
        for name in re.findall(rf"`((?:{sections})\.[a-z_]+)[`=:]", prose(page)):
            assert name in KEYS, f"{page.name}: {name}"


# What it links is there.


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in re.findall(r'(?:\]\(|src="|href=")([^)"\s]+)', prose(page)):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), link
        if target.suffix == ".py":  # a line of code: the generated parts have its number
            assert re.fullmatch(r"L\d+", anchor), link
        else:
            assert not anchor or anchor in anchors(target), link


def test_markdown_leaves_the_mathematics_as_it_is() -> None:
    """GitHub gives a formula to MathJax after Markdown has read `_`, `*` and backslashes in it."""
    text = prose(DOCS / "note.md")
    formulas = re.findall(r"^\$\$\n(.*?)\n\$\$$|\$([^$\n]+)\$", text, re.DOTALL | re.MULTILINE)
    assert len(formulas) > 100
    for formula in map("".join, formulas):
        assert not re.search(r"\\[!-/:-@\[-`{-~]|[*|<>`]|\}_[{\\]", formula), formula


def test_a_link_to_a_line_gets_its_number_and_must_have_one() -> None:
    link = "`Dense.{}`, [`{}`](../mlpcli/nn/layers.py#L1)"
    lines = (ROOT / "mlpcli/nn/layers.py").read_text().splitlines()
    number = re.search(r"#L(\d+)", written(link.format("forward", "T += self.b")))
    assert number
    assert lines[int(number[1]) - 1].strip() == "T += self.b"
    for function, line, problem in (
        ("forward", "T -= self.b", "starts 0 lines"),
        ("backward", "T += self.b", "starts 0 lines"),
        ("backward", "np.", "starts 2 lines"),
        ("nothing", "T += self.b", "defined 0 times"),
    ):
        with pytest.raises(LookupError, match=problem):
            written(link.format(function, line))


def test_every_page_is_in_the_readme_and_in_the_site() -> None:
    readme, site = README.read_text(), (ROOT / ".mkdocs.yml").read_text()
    for page in DOCS.glob("*.md"):
        assert f"docs/{page.name})" in readme
        assert f": {page.name}\n" in site


def test_the_site_is_built_without_a_warning_and_needs_no_network(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", ROOT / ".mkdocs.yml"]
    done = subprocess.run(
        [*command, "-d", tmp_path / "site"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for page in (tmp_path / "site").glob("*.html"):
        for tag in re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", page.read_text()):
            assert "http" not in tag, f"{page.name}: {tag}"
    note = (tmp_path / "site/note.html").read_text()
    assert "arithmatex" not in note
    links = re.findall(r'href="(source/[^"#]+)#([^"]+)"', note)
    assert len(links) == (DOCS / "note.md").read_text().count(".py#L")
    for path, anchor in links:
        assert f'id="{anchor}"' in (tmp_path / "site" / path).read_text()


# What comes from the code is up to date.


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_the_generated_parts_have_not_drifted(page: Path) -> None:
    """No figure is typed in, and no word of help either."""
    assert written(page.read_text()) == page.read_text(), "make docs writes it anew"


def test_the_table_of_faults_is_that_of_make_torture() -> None:
    text = (DOCS / "robustness.md").read_text()
    for row in ROWS.values():
        line = rf"^\| {row.number} \| {re.escape(row.fault)} \| ([0-9,]+) \| 0 \| \d+ \|$"
        found = re.search(line, text, re.MULTILINE)
        assert found, row
        assert int(found[1].replace(",", "")) >= row.required


def test_the_readme_and_contributing_stay_short() -> None:
    assert len(README.read_text().splitlines()) <= 130
    assert len(CONTRIBUTING.read_text().splitlines()) <= 60
