"""`gradshield threshold`: decide again in a finished run, without the model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from gradshield.run import score as score_step
from tests.cli.command_line import gradshield
from tests.cli.conftest import FinishedRun


@pytest.fixture
def run(finished: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished run, in a process that cannot load a model."""

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(score_step, "load_model", refuse)
    return Path(shutil.copytree(finished.folder, tmp_path / "run"))


def _decision(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "decision.json").read_text())
    return content


def test_other_rule_rewrites_the_decision_only(run: Path) -> None:
    before = _decision(run)
    files = {name: (run / name).read_bytes() for name in ("kept.jsonl", "removed.jsonl")}
    assert gradshield("threshold", run, "--threshold", "paper").code == 0
    after = _decision(run)
    assert (before["method"], after["method"]) == ("calibrated", "paper")
    assert after["threshold"] != before["threshold"]
    assert {name: (run / name).read_bytes() for name in files} == files
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["threshold"]["rule"] == "paper"
    assert "`paper`" in (run / "report.md").read_text(encoding="utf-8")


def test_a_stricter_level_removes_no_more(run: Path) -> None:
    removed = []
    for level in ("0.9", "0.5", "0.1"):
        rule = ("--threshold", "calibrated", "--level", level)
        outcome = gradshield("threshold", run, *rule, "--json")
        assert outcome.code == 0
        printed = json.loads(outcome.out)
        assert printed["level"] == float(level)
        removed.append(printed["removed"])
    assert removed == sorted(removed, reverse=True)
    assert removed[0] > removed[-1]


def test_data_files_of_the_earlier_decision_are_not_named(run: Path) -> None:
    outcome = gradshield("threshold", run, "--threshold", "paper", "--json")
    assert set(json.loads(outcome.out)["files"]) == {"report", "summary", "decision", "scores"}
    assert "kept.jsonl" not in gradshield("threshold", run).out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--threshold", "no-such-rule"), "--threshold no-such-rule"),
        (("--level", "2"), "--level 2"),
    ],
)
def test_impossible_options_change_nothing(run: Path, options: tuple[str, ...], words: str) -> None:
    before = (run / "decision.json").read_bytes()
    outcome = gradshield("threshold", run, *options)
    assert outcome.code == 1
    assert outcome.err.startswith(f"Error: {words}")
    assert (run / "decision.json").read_bytes() == before


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    outcome = gradshield("threshold", tmp_path)
    assert outcome.code == 1
    assert "is no run folder" in outcome.err
    assert "gradshield score" in outcome.err
