"""Where a run comes from: the command as typed, and the commit, read without calling git."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from conftest import Command

from mlpcli.runs.provenance import git_commit, provenance, started

NOBODY = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    command = ["git", *identity, *arguments]
    environment = {**os.environ, **NOBODY}
    return subprocess.check_output(command, cwd=folder, env=environment, text=True).strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of one commit, which is the current folder."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "topic/one")
    git(folder, "commit", "-q", "--allow-empty", "-m", "first")
    monkeypatch.chdir(folder)
    return folder


def test_the_commit_is_the_one_that_git_names(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = git(repository, "rev-parse", "HEAD")
    assert git_commit() == first
    (repository / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(repository / "deep" / "er")
    assert git_commit() == first
    git(repository, "pack-refs", "--all")
    assert not (repository / ".git/refs/heads/topic/one").exists()
    assert git_commit() == first
    git(repository, "commit", "-q", "--allow-empty", "-m", "second")
    second = git(repository, "rev-parse", "HEAD")
    assert git_commit() == second != first
    git(repository, "checkout", "-q", "--detach", first)
    assert git_commit() == first


@pytest.mark.parametrize("packed", [False, True])
def test_a_worktree_has_a_commit_of_its_own(
    repository: Path, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    other = repository.parent / "other"
    git(repository, "worktree", "add", "-q", "-b", "two", str(other))
    git(other, "commit", "-q", "--allow-empty", "-m", "of the worktree")
    if packed:
        git(repository, "pack-refs", "--all")
    monkeypatch.chdir(other)
    assert git_commit() == git(other, "rev-parse", "HEAD") != git(repository, "rev-parse", "HEAD")


@pytest.mark.parametrize(
    "head",
    [
        "",
        "x",
        "ref: refs/heads/none",
        "ref: refs/../../secret",
        "ref: HEAD",
        "ref: refs/\0",
        "a" * 39,
    ],
)
def test_a_repository_that_is_none_has_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_text("a" * 40)
    (tmp_path / ".git").mkdir()
    assert git_commit() is None
    (tmp_path / ".git" / "HEAD").write_text(head)
    assert git_commit() is None


def test_neither_a_pipe_nor_a_removed_folder_stops_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    (here / ".git").mkdir(parents=True)
    monkeypatch.chdir(here)
    os.mkfifo(here / ".git" / "HEAD")
    assert git_commit() is None
    shutil.rmtree(here)
    assert git_commit() is None
    assert provenance()["git_commit"] is None


def test_the_command_of_a_program_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["search.py", "two words"])
    assert provenance()["command"] == "search.py 'two words'"


def test_a_run_records_time_host_command_and_commit(mlpcli: Command, repository: Path) -> None:
    typed = ["train", "smoke", "--set", "training.epochs=1", "model.hidden=[4]", "--note", "it's"]
    done = mlpcli(*typed, cwd=repository)
    assert done.returncode == 0, done.stderr
    recorded = json.loads((repository / "runs/smoke-1/environment.json").read_text())
    assert shlex.split(recorded["command"]) == ["mlpcli", *typed]
    assert recorded["git_commit"] == git(repository, "rev-parse", "HEAD")
    assert recorded["host"]
    time = datetime.fromisoformat(recorded["time"])
    assert time.utcoffset() is not None
    assert abs((datetime.now().astimezone() - time).total_seconds()) < 3600
    again = mlpcli("train", "--resume", "smoke-1", "training.epochs=2", cwd=repository)
    assert again.returncode == 0, again.stderr
    recorded = json.loads((repository / "runs/smoke-1/environment.json").read_text())
    assert shlex.split(recorded["command"]) == ["mlpcli", *typed], "that of its start"
    (resumed,) = recorded["resumed"]
    assert resumed["command"] == "mlpcli train --resume smoke-1 training.epochs=2"


@pytest.mark.parametrize("content", ["", "[]", "{", '{"time": 1}', "[" * 100_000])
def test_a_corrupt_record_counts_as_none(tmp_path: Path, content: str) -> None:
    file = tmp_path / "environment.json"
    assert "resumed" not in started(file)
    file.write_text(content)
    assert "resumed" not in started(file)


def test_no_password_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [
        "mine.py",
        "--url",
        "http://bob:pa/S3cret@host/a",
        "--from=https://host/a?token=S3cret",
    ]
    monkeypatch.setattr(sys, "argv", words)
    assert shlex.split(str(provenance()["command"])) == [
        "mine.py",
        "--url",
        "http://***@host/a",
        "--from=https://host/a?***",
    ]
