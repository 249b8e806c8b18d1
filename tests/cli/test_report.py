"""`gradshield report`: the report of a run, whole or without texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gradshield.run.folder import RunFolder
from tests.cli.command_line import gradshield
from tests.reporting.runs import plain_rows, synthetic_run


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return synthetic_run(tmp_path, plain_rows(20), high=[3], at=3.0)


def test_it_writes_every_form_and_names_the_page(run: RunFolder) -> None:
    outcome = gradshield("report", run.path)
    assert outcome.code == 0, outcome.err
    assert outcome.out == f"{run.page}\n"
    names = {path.name for path in run.path.iterdir()}
    assert {"report.html", "report.json", "report.md", "report.sarif", "data_card.md"} <= names


def test_redacted_it_goes_to_a_folder_of_its_own(run: RunFolder, tmp_path: Path) -> None:
    outcome = gradshield("report", run.path, "--redact")
    assert outcome.out == f"{run.redacted / 'report.html'}\n"
    assert not run.page.exists()
    assert json.loads((run.redacted / "report.json").read_text())["redacted"]
    elsewhere = tmp_path / "to share"
    assert gradshield("report", run.path, "--redact", "--out", elsewhere).code == 0
    assert (elsewhere / "report.html").is_file()


def test_what_is_missing_is_told(run: RunFolder) -> None:
    (run.path.parent / "train.jsonl").unlink()
    outcome = gradshield("report", run.path)
    assert outcome.code == 0
    assert "is gone" in outcome.err
    assert gradshield("report", run.path, "--quiet").err == ""


def test_before_there_is_a_decision(run: RunFolder) -> None:
    run.decision.unlink()
    outcome = gradshield("report", run.path)
    assert outcome.code == 1
    assert "gradshield threshold" in outcome.err


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    outcome = gradshield("report", tmp_path)
    assert outcome.code == 1
    assert "is no run folder" in outcome.err
