"""`gradshield apply`: write the data files of the decision at hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.command_line import gradshield
from tests.cli.conftest import FinishedRun
from tests.run.data_files import mixed_lines, rows_of, split_file


@pytest.fixture
def run(finished: FinishedRun, tmp_path: Path) -> Path:
    """A copy of the finished run, of a copy of its input."""
    data = Path(shutil.copy(finished.data, tmp_path / "mixed.jsonl"))
    folder = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"data_path": str(data)}))
    return folder


def test_a_new_decision_is_applied(run: Path) -> None:
    before = split_file(run / "removed.jsonl")
    rule = ("--threshold", "calibrated", "--level", "0.9")
    assert gradshield("threshold", run, *rule).code == 0
    outcome = gradshield("apply", run, "--json")
    assert outcome.code == 0
    assert len(split_file(run / "removed.jsonl")) == json.loads(outcome.out)["removed"]
    assert set(split_file(run / "removed.jsonl")) > set(before)


def test_on_reject_can_be_chosen_again(run: Path) -> None:
    outcome = gradshield("apply", run, "--on-reject", "keep")
    assert outcome.code == 0
    lines, removed = rows_of(mixed_lines()), split_file(run / "removed.jsonl")
    kept = split_file(run / "kept.jsonl")
    assert kept == [line for line in lines if line not in removed]
    assert yaml.safe_load((run / "config.yaml").read_text())["on_reject"] == "keep"
    assert gradshield("apply", run, "--on-reject", "fail").code == 2
    assert not (run / "kept.jsonl").exists()


def test_bad_on_reject(run: Path) -> None:
    outcome = gradshield("apply", run, "--on-reject", "drop")
    assert outcome.code == 1
    assert outcome.err.startswith("Error: --on-reject drop")


def test_changed_input_is_refused(run: Path) -> None:
    before = (run / "kept.jsonl").read_bytes()
    data = run.parent / "mixed.jsonl"
    data.write_bytes(data.read_bytes().replace(b"Name river 7.", b"Name river 8."))
    outcome = gradshield("apply", run)
    assert outcome.code == 1
    assert "has changed since it was scored" in outcome.err
    assert "--force" in outcome.err
    assert (run / "kept.jsonl").read_bytes() == before


def test_input_that_is_gone(run: Path) -> None:
    (run.parent / "mixed.jsonl").unlink()
    outcome = gradshield("apply", run)
    assert outcome.code == 1
    assert "is gone" in outcome.err


def test_before_there_is_a_decision(run: Path) -> None:
    (run / "decision.json").unlink()
    outcome = gradshield("apply", run)
    assert outcome.code == 1
    assert "gradshield threshold" in outcome.err


def _annotated(run: Path) -> list[dict[str, Any]]:
    text = (run / "annotated.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_an_action_can_be_chosen_and_chosen_again(run: Path) -> None:
    parts = {name: (run / f"{name}.jsonl").read_bytes() for name in ("kept", "removed", "rejected")}
    for action, keys in (("annotate", 2), ("downweight", 3), ("drop", 0)):
        outcome = gradshield("apply", run, "--action", action, "--json")
        assert outcome.code == 0, outcome.err
        assert json.loads(outcome.out)["action"] == action
        assert json.loads((run / "decision.json").read_text())["action"] == action
        assert yaml.safe_load((run / "config.yaml").read_text())["action"] == action
        assert {name: (run / f"{name}.jsonl").read_bytes() for name in parts} == parts
        assert (run / "annotated.jsonl").exists() == bool(keys)
        if keys:
            # 28 rows, of which one is a line that is no JSON.
            assert len(_annotated(run)) == json.loads(outcome.out)["annotated"] == 27
            for row in _annotated(run):
                assert sum(key.startswith("gradshield_") for key in row) == keys


def test_the_action_is_remembered_and_follows_the_decision(run: Path) -> None:
    assert gradshield("apply", run, "--action", "annotate").code == 0
    before = [row["gradshield_decision"] for row in _annotated(run)]
    rule = ("--threshold", "calibrated", "--level", "0.9")
    assert gradshield("threshold", run, *rule).code == 0
    assert gradshield("apply", run).code == 0
    after = [row["gradshield_decision"] for row in _annotated(run)]
    assert after.count("removed") > before.count("removed")
    assert after.count("removed") == len(split_file(run / "removed.jsonl"))


def test_bad_action(run: Path) -> None:
    before = (run / "config.yaml").read_bytes()
    outcome = gradshield("apply", run, "--action", "erase")
    assert outcome.code == 1
    assert outcome.err.startswith("Error: --action erase: ")
    assert all(name in outcome.err for name in ("drop", "annotate", "downweight", "mask"))
    assert outcome.err.count("\n") == 1
    assert (run / "config.yaml").read_bytes() == before


def test_a_choice_that_cannot_be_carried_out_is_not_written(run: Path) -> None:
    (run.parent / "mixed.jsonl").unlink()
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    assert gradshield("apply", run, "--action", "annotate").code == 1
    assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == before
