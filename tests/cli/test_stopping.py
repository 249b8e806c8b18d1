"""Signals, a second command in the same folder and a full disk: one line and an exit code."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gradshield.cli.start import start
from gradshield.cli.stopping import Terminated, stoppable
from gradshield.errors import UserError
from gradshield.run import lock, review
from gradshield.run.folder import RunFolder
from gradshield.run.lock import at_work
from tests.cli.command_line import gradshield
from tests.cli.conftest import RULE, FinishedRun
from tests.run.data_files import good_rows, write_jsonl
from tests.run.run_folders import made_run, mark


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """As in a terminal: what a shell starts in the background ignores the signal of Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_a_run_in_one_line_and_it_goes_on(
    model_folder: Path, tmp_path: Path, number: int, code: int
) -> None:
    data = write_jsonl(tmp_path / "data.jsonl", good_rows(8))
    command = ("filter", data, "-m", model_folder, "-o", tmp_path / "run", *RULE, "--quiet")
    before = signal.getsignal(signal.SIGTERM)

    def signalled(*_: Any, **__: Any) -> Any:
        os.kill(os.getpid(), number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradshield.scoring.lines.score_examples", signalled)
        outcome = gradshield(*command)
    assert outcome.code == code
    last = outcome.err.splitlines()[-1]
    assert last == "Stopped. What is done is kept: the same command goes on from there."
    assert "Traceback" not in outcome.err
    assert outcome.out == ""
    assert (tmp_path / "run" / "direction.safetensors").is_file()
    assert not [path for path in (tmp_path / "run").rglob("*") if path.name.startswith(".")]
    assert signal.getsignal(signal.SIGTERM) == before
    assert gradshield(*command).code == 0


@pytest.mark.parametrize(("stop", "code"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_what_is_stopped_before_a_command_begins_says_so_too(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stop: type[KeyboardInterrupt],
    code: int,
) -> None:
    def stopped() -> None:
        raise stop

    monkeypatch.setattr("gradshield.cli.main.app", stopped)
    with pytest.raises(SystemExit) as end:
        start()
    assert end.value.code == code
    assert capsys.readouterr().err.startswith("Stopped. ")


def test_the_command_starts_where_it_can_be_stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gradshield", "--version"])
    with pytest.raises(SystemExit) as end:
        start()
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("gradshield ")


def test_a_thread_leaves_signals_alone() -> None:
    found = []

    def look() -> None:
        with stoppable():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM)]


@contextmanager
def _someone_at_work(folder: Path) -> Iterator[None]:
    held, done = threading.Event(), threading.Event()

    def work() -> None:
        with at_work(RunFolder(folder)):
            held.set()
            done.wait(60)

    thread = threading.Thread(target=work)
    thread.start()
    held.wait(60)
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_every_command_that_writes_waits_for_nobody(
    finished: FinishedRun, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "TURN", 0.05)
    run, scoring = finished.folder, (finished.data, "-m", model_folder, "-o", finished.folder)
    commands: list[tuple[Any, ...]] = [
        ("filter", *scoring, *RULE),
        ("score", *scoring),
        ("score", *scoring, "--shard", "0/2"),
        ("direction", "measure", *scoring),
        ("merge", run),
        ("threshold", run),
        ("apply", run),
        ("report", run),
    ]
    names = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    with _someone_at_work(run):
        for command in commands:
            outcome = gradshield(*command)
            assert outcome.code == 1, command
            line = outcome.err.splitlines()[-1]
            assert line.startswith("Error: Another run (process "), command
            assert line.endswith("wait for it or stop it, or name another --out.") or (
                "--shard" in command
            )
        assert gradshield("show", run).code == 0  # reading disturbs nobody
    found = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    assert found == names


def test_a_mark_waits_for_a_command_that_is_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made_run(tmp_path)
    gradshield("report", folder.path)
    site = review.open_site(folder, "Ada")
    body = json_of(mark(folder, 0, "remove"))
    monkeypatch.setattr(review, "PATIENCE", 0.05)
    with _someone_at_work(folder.path), pytest.raises(UserError, match="is at work"):
        site.save(body)
    assert not folder.overrides.exists()
    monkeypatch.setattr(review, "PATIENCE", 30.0)
    with _someone_at_work(folder.path):
        saving = threading.Thread(target=site.save, args=(body,))
        saving.start()
        saving.join(0.1)
        assert saving.is_alive()
    saving.join()
    assert len(folder.overrides.read_text().splitlines()) == 1


def json_of(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry).encode()


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (OSError(28, "No space left on device", "a/b.bin"), "a/b.bin cannot be written"),
        (RuntimeError("write failed: No space left on device"), "A file cannot be written"),
    ],
)
def test_a_full_disk_is_told_wherever_it_is_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception, text: str
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise fault

    monkeypatch.setattr("gradshield.run.score.load_model", full)
    data = write_jsonl(tmp_path / "data.jsonl", good_rows(8))
    outcome = gradshield("score", data, "-o", tmp_path / "run")
    assert outcome.code == 1
    [line] = outcome.err.splitlines()
    assert line.startswith(f"Error: {text}: the disk is full")
    assert "the same command goes on" in line


def test_a_bug_keeps_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def buggy(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("gradshield.run.score.load_model", buggy)
    data = write_jsonl(tmp_path / "data.jsonl", good_rows(8))
    with pytest.raises(RuntimeError, match="a bug"):
        gradshield("score", data, "-o", tmp_path / "run")
