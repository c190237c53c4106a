"""The report: the figures of `eval`, the weights and images of any network, in a real browser."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import shlex
import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, browser, needs_chromium
from conftest import Command, Without
from faults.shell import MLPCLI, call, lasting_folder, once, require_same, resume, shapes, train
from PIL import Image

from mlpcli.config.settings import Cifar10Config
from mlpcli.data import dataset
from mlpcli.metrics import mcnemar
from mlpcli.report import plots
from mlpcli.report.page import page
from mlpcli.runs import checkpoint
from mlpcli.runs.folder import Run

NETWORKS = {
    "note": ("note", "training.epochs=4"),
    "another seed": ("note", "training.epochs=4", "seed=1"),
    "slower": ("note", "training.epochs=4", "optimizer.learning_rate=0.01"),
    "fast": ("fast", "training.epochs=3", "data.val_size=0"),
    "deep": ("deep", "training.epochs=3", "model.hidden=[24, 16]"),
    "logistic": ("logistic", "training.epochs=3"),
}


@once
def trained(which: str) -> Path:
    """The folder of a run of a few epochs on the shapes, made once."""
    name, *sets = NETWORKS[which]
    folder = lasting_folder()
    done = call(train(name, *sets), folder)
    assert done.returncode == 0, done.stderr
    return folder / "runs" / f"{name}-1"


def page_of(*names: str) -> str:
    return page([Run(trained(name)) for name in names])


def probs_of(run: Path) -> np.ndarray:
    """The class probabilities of the test images, from the file alone."""
    net = np.load(run / "checkpoints/best.npz")
    images = dataset.load_test(Cifar10Config(dir=str(shapes()))).splits["test"].images
    hidden = 1 / (1 + np.exp(-(images / 255 @ net["W1"] + net["b1"])))
    return 1 / (1 + np.exp(-(hidden @ net["W2"] + net["b2"])))


def labels() -> np.ndarray:
    return dataset.load_test(Cifar10Config(dir=str(shapes()))).splits["test"].labels


def test_its_figures_are_those_of_eval() -> None:
    evaluated = json.loads(call([*MLPCLI, "eval", str(trained("note")), "--json"], Path()).stdout)
    text = page_of("note")
    assert f"<dd>{evaluated['accuracy']:.2%}</dd>" in text
    cells = re.findall(r'<td(?: class="correct")? style="--share[^>]*>(\d+)</td>', text)
    assert (
        np.reshape([int(cell) for cell in cells], (10, 10)).tolist()
        == (evaluated["confusion_matrix"])
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_page_needs_no_network_and_is_the_same_each_time(name: str) -> None:
    text = page_of(name)
    assert len(text.encode()) < 3 * 2**20
    links = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    assert "url(http" not in text
    assert "<script" not in text
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert text == page_of(name)


@pytest.mark.parametrize("name", ["note", "fast", "deep", "logistic"])
def test_first_layer_images_are_its_weights_on_pixels(name: str) -> None:
    saved = checkpoint.load(trained(name) / "checkpoints/best.npz").named_params
    shown = re.findall(
        r'<img src="data:image/png;base64,([^"]+)"[^>]*alt="weights of', page_of(name)
    )
    order = range(10)  # of logistic regression: the classes
    if "W2" in saved:
        order = np.argsort(-np.linalg.norm(saved["W2"], axis=1), kind="stable")[:96]
    assert len(shown) == len(order)
    for image, unit in zip(shown, order, strict=True):
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(image))))[:, :, :3]
        weights = saved["W1"][:, unit].reshape(3, 32, 32).transpose(1, 2, 0)
        clear = np.abs(weights) > np.abs(weights).max() / 100
        assert ((pixels > 127.5) == (weights > 0))[clear].all()
        assert pixels.max() == 255 or pixels.min() == 0


def test_the_most_confident_are_shown_with_the_probability_of_each_class() -> None:
    probs, truth = probs_of(trained("note")), labels()
    correct = probs.argmax(axis=1) == truth
    order = np.argsort(-probs.max(axis=1))  # by confidence
    expected = [*order[correct[order]][:12], *order[~correct[order]][:12]]
    text = page_of("note")
    assert [int(n) for n in re.findall(r'alt="test image (\d+):', text)] == expected
    assert text.count('class="probs"') == len(expected)
    shown = re.findall(r"<span>(\d\.\d\d)</span>", text)
    found = np.reshape([float(each) for each in shown], (-1, 10))
    np.testing.assert_allclose(found, probs[expected], atol=0.006)


@pytest.mark.slow
def test_seeds_are_grouped_and_the_best_two_are_compared_image_by_image() -> None:
    text = page_of("slower", "note", "another seed")
    assert "3 runs of 2 configurations" in text
    accuracies = [
        json.loads((trained(name) / "summary.json").read_text())["val_accuracy"]
        for name in ("note", "another seed", "slower")
    ]
    mean, std = statistics.mean(accuracies[:2]), statistics.stdev(accuracies[:2])
    first = text.index(f"{mean:.2%} ± {100 * std:.2f}")
    assert first < text.index(f"<td>{accuracies[2]:.2%}</td>"), "not the best first"
    assert ">learning_rate 0.1<" in text.replace("</span>", ">")
    assert ">learning_rate 0.01<" in text.replace("</span>", ">")
    assert ">note, learning_rate 0.1<" in page_of("slower", "note", "fast").replace("</span>", ">")

    best = "note" if accuracies[0] >= accuracies[1] else "another seed"
    one, other = (probs_of(trained(name)).argmax(axis=1) == labels() for name in (best, "slower"))
    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    words = " ".join(text.split())
    assert f"{only_one} are classified correctly only by note-1 and {only_other} only by" in words
    p = mcnemar(only_one, only_other)
    assert f"with probability {p:.2g} (exact McNemar test)" in words
    assert ("the accuracies of these two networks differ." in words) == (p < 0.05)


def test_only_the_best_two_are_evaluated_on_the_test_images() -> None:
    """More figures of the test images would be an invitation to choose by them."""
    text = page_of("logistic", "slower", "note", "deep")
    table = text[text.index("<tbody>") : text.index("</tbody>")]
    tested = [row.count("%") > 1 for row in table.split("<tr>")[1:]]
    assert tested == [True, True, False, False]


def test_a_run_without_validation_is_shown_by_its_last_epoch() -> None:
    text = page_of("fast")
    assert "3 of 3" in text
    assert "validation accuracy" not in text


def test_text_from_files_does_nothing_on_the_page(tmp_path: Path) -> None:
    evil = tmp_path / "<img src=x onerror=alert(1)>\x1b[31m"
    shutil.copytree(trained("note"), evil)
    text = page([Run(evil)])
    assert "&lt;img src=x" in text
    assert "<img src=x" not in text
    assert "\x1b" not in text


def test_a_folder_of_runs_is_shown_with_those_that_have_no_epoch(
    mlpcli: Command, tmp_path: Path
) -> None:
    """One lucky seed does not rank first: what has failed is not left out."""
    for number, name in enumerate(["slower", "note"], start=1):
        shutil.copytree(trained(name), tmp_path / "sweep" / f"trial-{number}")
    (tmp_path / "sweep" / "trial-3").mkdir()
    config = (trained("note") / "config.yaml").read_text().replace("\nseed: 0", "\nseed: 5")
    (tmp_path / "sweep" / "trial-3" / "config.yaml").write_text(config)
    done = mlpcli("report", "sweep")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "sweep" / "report.html").read_text()
    assert "3 runs of 2 configurations" in text
    assert "Best run: trial-1" in text
    assert "<td>1 finished, empty</td>" in text


def copied(name: str, folder: Path) -> Run:
    shutil.copytree(trained(name), folder)
    return Run(folder)


def test_a_run_that_has_not_finished_is_marked_and_ranked_last(tmp_path: Path) -> None:
    stopped = copied("note", tmp_path / "stopped")
    stopped.summary.unlink()
    text = page([stopped, Run(trained("slower"))])
    table = text[text.index("<tbody>") : text.index("</tbody>")]
    states = re.findall(r"<td>(1 finished|stopped after epoch 4 of 4)</td>", table)
    assert states == ["1 finished", "stopped after epoch 4 of 4"]
    assert "Best run: note-1" in text, "the slower one, which has finished"
    assert "Not finished" not in text
    assert "<strong>Not finished: stopped after epoch 4 of 4.</strong>" in page([stopped])


def test_a_run_is_never_compared_with_itself(tmp_path: Path) -> None:
    run = trained("note")
    (tmp_path / "link").symlink_to(run)
    text = page([Run(run), Run(run / ".." / run.name), Run(tmp_path / "link")])
    assert text == page([Run(run)])
    twice = page([Run(run), copied("note", tmp_path / "copy")])
    assert "2 runs of 1 configuration" in twice
    assert "McNemar" not in twice
    assert "±" not in twice[: twice.index("Learning curves")].replace("mean ± standard", "")


def test_the_commands_of_an_extended_run_reproduce_it(tmp_path: Path) -> None:
    sets = ("training.epochs=3", "training.patience=1", "optimizer.learning_rate=1e-9")
    assert call(train("momentum", *sets), tmp_path).returncode == 0
    run = Run(tmp_path / "runs" / "momentum-1")
    assert len(run.epochs()) == 2, "patience has run out"
    extended = ("--extend", "training.epochs=4", "training.patience=3", "-q")
    for _ in range(2):  # the second has nothing to do
        done = call(resume(run.folder, *extended), tmp_path)
        assert done.returncode == 0, done.stderr
    text = page([run])
    commands = re.findall(r"<p><code>(mlpcli train [^<]*)</code></p>", text)
    assert len(commands) == 2
    for command in commands:
        done = call([*MLPCLI, *shlex.split(html.unescape(command))[1:]], tmp_path)
        assert done.returncode == 0, done.stderr
    require_same(tmp_path / "again" / "momentum-1", run.folder)
    legs = re.findall(r"<tr><td>(\d)</td><td>(\d)</td><td>(\d)</td>", text)
    assert legs == [("0", "2", "3"), ("2", "4", "4"), ("4", "4", "4")]
    assert "--extend training.epochs=4 training.patience=3 -q</code></td>" in text


def test_a_run_that_was_only_resumed_takes_one_command(tmp_path: Path) -> None:
    run = copied("note", tmp_path / "note-1")
    assert call(resume(run.folder, "-q"), tmp_path).returncode == 0
    text = page([run])
    assert f"<code>mlpcli train {run.config_file}</code>" in text
    assert "trained in 2 legs" in text


def test_losses_too_large_to_be_drawn_are_left_out(tmp_path: Path) -> None:
    run = copied("note", tmp_path / "run")
    rows = run.metrics.read_text().splitlines()
    for value in ("1e30", "1.7976931348623157e308"):
        cells = rows[2].split(",")
        cells[1] = cells[3] = cells[5] = cells[6] = value
        run.metrics.write_text("\n".join([*rows[:2], ",".join(cells), *rows[3:], ""]))
        assert "images/s" in page([run])


@pytest.mark.slow
def test_a_run_that_cannot_be_reported_is_one_clear_line(
    mlpcli: Command, without: Without, tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "note-1"
    shutil.copytree(trained("note"), run)
    (tmp_path / "empty").mkdir()

    def refused(code: int, message: str, *arguments: object, **options: object) -> None:
        done = mlpcli("report", *arguments, **options)
        assert done.returncode == code, done.stderr
        assert message in done.stderr
        assert len(done.stderr.splitlines()) <= 2
        assert not (run / "report.html").exists()

    refused(5, "neither a run's folder nor one that holds finished runs", "empty")
    refused(5, "nowhere: no such run or checkpoint", "nowhere")
    refused(2, "Missing argument", *())
    refused(4, "found no cifar-10-batches-py", run, "--data-dir", "empty")
    refused(1, "cannot be written", run, "--out", "nowhere/report.html")
    message = "report needs jinja2, which is not installed"
    refused(1, message, run, env=without("jinja2"))
    (run / "metrics.csv").write_text("1,2,3,x,5,6,7,8\n")
    refused(5, "metrics.csv: found '1,2,3,x,5,6,7,8', expected a row of 8 numbers", run)
    (run / "metrics.csv").unlink()
    refused(5, "has not finished an epoch yet", run)


def test_plots_are_files_of_their_own_too(tmp_path: Path) -> None:
    drawn = plots.standing_alone(plots.curves([plots.Line([0.5, None, 0.25])], "loss"))
    assert drawn.startswith("<svg")
    variables = set(re.findall(r"var\((--[\w-]+)\)", drawn))
    assert variables
    assert all(f"{variable}:#" in drawn for variable in variables)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


PAGES = {
    "note": ("note",),
    "deep": ("deep",),
    "logistic": ("logistic",),
    "six": tuple(NETWORKS),
}


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_complete_in_a_browser(
    chromium: Browser, tmp_path: Path, name: str, width: int
) -> None:
    path = tmp_path / "report.html"
    path.write_text(page_of(*PAGES[name]))
    grounds = []
    for dark in (False, True):
        chromium.open(path, width, dark=dark)
        assert chromium.console() == []
        assert chromium.ask("document.documentElement.scrollWidth") == width
        outside = "[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll'))"
        edges = f"{outside}.map(e => e.getBoundingClientRect().right)"
        assert chromium.ask(f"Math.max(...{edges})") <= width
        assert chromium.ask("[...document.images].every(i => i.naturalWidth === 32)")
        svgs = "[...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().height)"
        assert min(chromium.ask(svgs)) > 150
        grounds.append(chromium.ask("getComputedStyle(document.body).backgroundColor"))
    assert grounds[0] != grounds[1]
    chromium.open(path, 800, dark=True, printed=True)
    assert chromium.ask("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert chromium.ask("document.documentElement.scrollWidth") == 800


@needs_chromium
def test_the_browser_would_have_noticed(chromium: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    broken = '<img src="http://127.0.0.1:9/x.png"><div style="width: 2000px">wide</div></main>'
    path.write_text(page_of("note").replace("</main>", broken))
    chromium.open(path, 400)
    assert any("Content Security Policy" in line for line in chromium.console())
    assert chromium.ask("document.documentElement.scrollWidth") > 400
