"""A sweep's folder: which of its runs are trials, what came of them, and the tables of that."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlpcli.config import loading as config
from mlpcli.runs import folder as runs
from mlpcli.runs.reading import SUMMARY
from mlpcli.sweep import plan as sweeps
from mlpcli.sweep import trials
from mlpcli.sweep.plan import Sweep
from mlpcli.sweep.trials import Entry, Outcome

RATES = "base: base.yaml\ngrid:\n  optimizer.learning_rate: [0.1, 2e-1]\n"
MOMENTA = "  optimizer.momentum: [0, 0.9]\n"
OPTIMIZERS = "base: base.yaml\ngrid:\n  optimizer.name: [sgd, adamw]\n"


def load(tmp_path: Path, text: str, *sets: str) -> Sweep:
    (tmp_path / "base.yaml").write_text("name: base\nseed: 7\ntraining: {epochs: 3}\n")
    path = tmp_path / "my sweep.yaml"
    path.write_text(text)
    return sweeps.load(path, sets)


def test_each_trial_keeps_its_folder_whatever_is_added_to_the_sweep(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    first = trials.entries(load(tmp_path, RATES), folder)
    assert [entry.run.folder.name for entry in first] == ["trial-1", "trial-2"]
    assert config.load(first[1].run.config_file) == first[1].trial.config
    more = trials.entries(load(tmp_path, RATES.replace("[0.1", "[0.3, 0.1")), folder)
    assert [entry.run.folder.name for entry in more] == ["trial-3", "trial-1", "trial-2"]


def test_more_epochs_and_other_images_are_another_trial_and_other_threads_are_not(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    first = trials.entries(load(tmp_path, RATES), folder)
    for change in ("training.epochs=9", "data.dir=/x"):
        others = trials.entries(load(tmp_path, RATES, change), folder)
        assert {e.run.folder for e in first}.isdisjoint(e.run.folder for e in others)
    threads = trials.entries(load(tmp_path, RATES, "threads=3"), folder)
    assert [e.run.folder for e in threads] == [e.run.folder for e in first]


def test_only_a_whole_summary_of_the_same_configuration_is_a_finished_trial(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    sweep = load(tmp_path, RATES)
    (entry, other) = trials.entries(sweep, folder)
    figures = dict.fromkeys(SUMMARY, 1)
    summary = {"config": config.to_dict(entry.trial.config), **figures}
    other_config = {"config": config.to_dict(other.trial.config), **figures}
    for wrong in ({}, {"config": 3}, other_config, {"config": summary["config"]}):
        entry.run.write_summary(wrong)
        assert [e.outcome for e in trials.entries(sweep, folder)] == [None, None]
    (entry.run.folder / "summary.json").write_text("{truncated")
    assert trials.entries(sweep, folder)[0].outcome is None
    entry.run.write_summary(summary)
    assert [e.outcome for e in trials.entries(sweep, folder)] == [Outcome(summary), None]


def entries_of(tmp_path: Path, accuracies: list[float | None]) -> tuple[Sweep, list[Entry]]:
    """A sweep of two seeds whose trials came to these accuracies, or failed."""
    sweep = load(tmp_path, f"{RATES}{MOMENTA}  model.hidden: [[8, 4]]\nseeds: [0, 1]\n")
    outcomes = [
        Outcome(None, "lost, all of it", 6)
        if accuracy is None
        else Outcome(dict.fromkeys(trials.FIGURES, accuracy))
        for accuracy in accuracies
    ]
    found = [
        Entry(trial, runs.Run(tmp_path / str(i)), outcome)
        for i, (trial, outcome) in enumerate(zip(sweep.trials, outcomes, strict=True))
    ]
    return sweep, found


def test_the_table_has_the_best_first_and_after_them_what_has_failed_seeds(tmp_path: Path) -> None:
    accuracies = [None, None, 0.25, None, 0.5, 0.6, 0.125, 0.135]
    sweep, entries = entries_of(tmp_path, accuracies)
    assert trials.table(sweep, trials.ranking(entries)).splitlines() == [
        "learning_rate  momentum  hidden  validation accuracy  seeds",
        "0.2            0         [8, 4]  55.00% ± 7.07        2",
        "0.2            0.9       [8, 4]  13.00% ± 0.71        2",
        "0.1            0.9       [8, 4]  25.00%               1 of 2",
        "0.1            0         [8, 4]  failed               0 of 2",
    ]


def test_what_a_trial_does_not_have_is_a_dash_in_the_table_and_empty_in_the_csv(
    tmp_path: Path,
) -> None:
    sweep = load(tmp_path, OPTIMIZERS + MOMENTA)
    entries = [
        Entry(trial, runs.Run(tmp_path / str(i)), Outcome(dict.fromkeys(trials.FIGURES, i / 4)))
        for i, trial in enumerate(sweep.trials)
    ]
    assert trials.table(sweep, trials.ranking(entries)).splitlines() == [
        "optimizer.name  momentum  validation accuracy  seeds",
        "adamw           –         50.00%               1",
        "sgd             0.9       25.00%               1",
        "sgd             0         0.00%                1",
    ]
    trials.write_csv(tmp_path / "sweep.csv", sweep, entries)
    rows = (tmp_path / "sweep.csv").read_text().splitlines()
    assert rows[2].startswith("sgd,0.9,7,finished,0.25,")
    assert rows[3].startswith("adamw,,7,finished,0.5,")


def test_a_lucky_seed_whose_others_failed_or_were_not_reached_does_not_rank_first(
    tmp_path: Path,
) -> None:
    _, entries = entries_of(tmp_path, [0.9, None, 0.5, 0.5, 0.95, 0.95, 0.4, 0.6])
    entries[5].outcome = None
    ranked = trials.ranking(entries)
    assert [one.accuracy.values for one in ranked] == [[0.5, 0.5], [0.4, 0.6], [0.95], [0.9]]
    assert [one.seeds for one in ranked] == ["2", "2", "1 of 2", "1 of 2"]
    assert [one.row()["complete"] for one in ranked] == [True, True, False, False]
    assert [one.row()["failed"] for one in ranked] == [0, 0, 0, 1]


def test_the_csv_has_a_row_for_each_trial_with_its_state(tmp_path: Path) -> None:
    sweep, entries = entries_of(tmp_path, [0.25, None, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5])
    entries[7].outcome = None
    trials.write_csv(tmp_path / "sweep.csv", sweep, entries)
    rows = (tmp_path / "sweep.csv").read_text().splitlines()
    assert rows[0] == (
        "optimizer.learning_rate,optimizer.momentum,model.hidden,seed,state,"
        "val_accuracy,val_loss,best_epoch,epochs,seconds,run_dir,error"
    )
    assert rows[1] == f'0.1,0,"[8, 4]",0,finished,0.25,0.25,0.25,0.25,0.25,{tmp_path}/0,'
    assert rows[2] == f'0.1,0,"[8, 4]",1,failed,,,,,,{tmp_path}/1,"lost, all of it"'
    assert rows[8] == f'0.2,0.9,"[8, 4]",1,unfinished,,,,,,{tmp_path}/7,'
    assert len(rows) == 9


# What anyone may have written into a sweep's folder, and Python's reader accepts or chokes on.
HOSTILE_FIGURES = ['"x"', "true", "[]", "-1", "7", "1e999", "NaN", "null", "1" + "0" * 400]


@pytest.mark.parametrize("value", HOSTILE_FIGURES)
def test_a_summary_with_another_accuracy_than_training_writes_is_not_a_finished_trial(
    tmp_path: Path, value: str
) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    sweep = load(tmp_path, RATES)
    entry, _ = trials.entries(sweep, folder)
    figures = dict.fromkeys(SUMMARY, 1) | {"val_accuracy": "HERE"}
    entry.run.write_summary({"config": config.to_dict(entry.trial.config), **figures})
    text = entry.run.summary.read_text()
    entry.run.summary.write_text(text.replace('"HERE"', value))
    assert [each.outcome for each in trials.entries(sweep, folder)] == [None, None]
    entry.run.summary.write_text(text.replace('"HERE"', "1"))
    assert trials.entries(sweep, folder)[0].outcome is not None


@pytest.mark.parametrize("name", ["summary.json", "config.yaml"])
@pytest.mark.parametrize("kind", ["a pipe", "endless", "deep", "large", "a folder"])
def test_a_file_of_a_trial_that_cannot_be_read_makes_nothing_wait_and_nothing_grow(
    tmp_path: Path, name: str, kind: str
) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    sweep = load(tmp_path, RATES)
    path = trials.entries(sweep, folder)[0].run.folder / name
    path.unlink(missing_ok=True)
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    elif kind == "a folder":
        path.mkdir()
    else:
        path.write_text("[" * 50_000 if kind == "deep" else " " * 3_000_000)
    entries = trials.entries(sweep, folder)
    assert [entry.outcome for entry in entries] == [None, None]
    lost = name == "config.yaml"  # such a folder is nobody's: its trial gets another
    assert [entry.run.folder.name for entry in entries] == [f"trial-{3 if lost else 1}", "trial-2"]
