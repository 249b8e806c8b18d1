"""Runs that are killed at many moments end with the bytes of undisturbed ones."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from functools import partial
from pathlib import Path

import pytest

from gradshield.benchmark.reliability.kills import (
    PRELOADED,
    KillReport,
    contents,
    kill_trials,
)
from gradshield.errors import UserError
from gradshield.files import write_text
from tests.benchmark.reliability.small_runs import one_command, run_config, small_filter
from tests.run.data_files import mixed_jsonl
from tests.tiny_models import save_tiny_model

pytestmark = pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="needs fork"
)

PRELOAD = (*PRELOADED, "tests.benchmark.reliability.preloaded")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data file and a model."""
    scratch = tmp_path_factory.mktemp("kills")
    mixed_jsonl(scratch / "mixed.jsonl")
    save_tiny_model(scratch / "model")
    return scratch


@pytest.fixture(scope="module")
def finished(place: Path) -> Path:
    """A run that is through."""
    folder = place / "finished"
    small_filter(folder, run_config(place / "mixed.jsonl", place / "model"))
    return folder


def check(report: KillReport, trials: int) -> None:
    assert report.faults == []
    assert report.trials == trials
    # By chance a timed kill can come when the run is through.
    assert report.aimed_kills >= trials // 2
    assert report.restarts == report.aimed_kills + report.timed_kills


def test_a_killed_filter_ends_with_the_same_bytes(place: Path) -> None:
    config = run_config(place / "mixed.jsonl", place / "model", action="annotate")
    start = partial(small_filter, config=config)
    report = kill_trials(start, place / "run", 20, seed=1, preload=PRELOAD)
    check(report, 20)
    assert report.operations > 100
    assert not (place / "run").exists()


@pytest.mark.parametrize(
    "command",
    [
        ("threshold", "--threshold", "calibrated", "--level", "0.2"),
        ("apply", "--action", "annotate", "--shards", "2"),
        ("report", "--redact"),
    ],
    ids=lambda command: str(command[0]),
)
def test_a_killed_step_ends_with_the_same_bytes(
    place: Path, finished: Path, command: tuple[str, ...]
) -> None:
    start = partial(_step, command=command)
    report = kill_trials(start, place / "run", 6, 2, prepared=finished, preload=PRELOAD)
    check(report, 6)


def _step(folder: Path, command: tuple[str, ...]) -> None:
    one_command(folder, *command)


def careless(folder: Path) -> None:
    """What a run must not do: it keeps what it finds half done, and writes in place."""
    folder.mkdir(exist_ok=True)
    write_text(folder / "provenance.json", json.dumps({"started": "now"}), once=True)
    for name in "abcdefgh":
        (folder / f".{name}").write_text(name)
        if not (folder / name).exists():
            with (folder / name).open("w") as stream:
                stream.write("half, ")
                stream.flush()
                (folder / f"{name}.done").touch()
                stream.write("whole")
        (folder / f".{name}").unlink()
    record = {"files": {"a": "of an earlier run"}}
    write_text(folder / "outputs.json", json.dumps(record))
    (folder / "a").unlink()
    (folder / "a").write_text("half, whole")
    write_text(folder / "outputs.json", json.dumps({"files": {}}))


def test_a_careless_run_is_found_out(tmp_path: Path) -> None:
    report = kill_trials(careless, tmp_path / "run", 30, seed=0)
    assert {line.partition(": ")[2] for line in report.differing} & set("abcdefgh")
    assert {line.partition(": ")[2] for line in report.untrue_records} == {"a"}
    assert report.failed == []


def forgetful(folder: Path) -> None:
    """It cannot go on from what it left, and leaves a draft when it is disturbed."""
    (folder / "provenance.json").exists() or folder.mkdir()
    (folder / ".a.draft").touch()
    write_text(folder / "provenance.json", json.dumps({"started": "now"}))
    (folder / ".a.draft").unlink()


def test_a_run_that_cannot_go_on_is_found_out(tmp_path: Path) -> None:
    report = kill_trials(forgetful, tmp_path / "run", 12, seed=0)
    assert any("exit code 1" in line for line in report.failed)
    assert any(line.endswith(".a.draft") for line in report.leftovers)


def broken(folder: Path) -> None:
    raise SystemExit(3)


def test_an_undisturbed_run_has_to_work(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="exit code 3"):
        kill_trials(broken, tmp_path / "run", 2, seed=0)


def test_the_time_of_the_start_is_all_that_may_differ(tmp_path: Path) -> None:
    for name, time in (("one", "2026-01-01T10:00:00"), ("two", "2026-01-02T11:00:00")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "provenance.json").write_text(json.dumps({"started": time}))
        (tmp_path / name / "report.md").write_text(f"Started {time}.")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    shutil.copyfile(tmp_path / "one" / "report.md", tmp_path / "two" / "report.md")
    assert contents(tmp_path / "one") != contents(tmp_path / "two")
