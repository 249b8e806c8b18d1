"""`gradshield verify`: a run of the tiny model scores the same again, and damage is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from gradshield.config import RunConfig
from gradshield.run.folder import RunFolder
from gradshield.scoring.table import read_table, write_part
from tests.cli.command_line import gradshield
from tests.cli.conftest import FinishedRun
from tests.run.run_folders import made_run


@pytest.fixture
def run(finished: FinishedRun, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished.folder, tmp_path / "run"))


def test_a_run_of_a_model_holds(run: Path) -> None:
    outcome = gradshield("verify", run, "--sample", 5, "--quiet")
    assert outcome.code == 0, outcome.out
    lines = outcome.out.splitlines()
    assert all(line.startswith("OK     ") for line in lines)
    assert [line.split()[1] for line in lines[-3:]] == ["model:", "unscorable:", "sample:"]
    assert "5 rows score the same again (engine finite_difference, seed 0)" in lines[-1]
    assert "the same 4 rows cannot be read" in lines[-2]


def test_only_the_command_line_grants_trust(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    granted = []

    def scored(config: RunConfig, *others: Any, **options: Any) -> list[Any]:
        granted.append(config.model.trust_remote_code)
        return []

    monkeypatch.setattr("gradshield.cli.verify.verify_scores", scored)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("remote_code: false", "remote_code: true"))
    assert gradshield("verify", run).code == 0
    assert gradshield("verify", run, "--trust-remote-code").code == 0
    assert granted == [False, True]


def test_a_sample_may_be_larger_than_the_run(run: Path) -> None:
    outcome = gradshield("verify", run, "--sample", 1000, "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)[-1]["text"].startswith("24 rows score the same again")


def test_other_scores_are_found_by_scoring_again(run: Path) -> None:
    folder = RunFolder(run)
    lines = list(read_table(folder.scores).lines())
    for line in lines:
        line["fihs"] = None if line["fihs"] is None else -line["fihs"]
    write_part(lines, folder.scores / "part-00000.parquet")
    outcome = gradshield("verify", run, "--json")
    assert outcome.code == 2
    checks = {check["name"]: check for check in json.loads(outcome.out)}
    assert not checks["scores"]["holds"]
    assert not checks["sample"]["holds"]
    assert "16 of 16 rows score otherwise" in checks["sample"]["text"]
    assert checks["model"]["holds"]


def test_another_model_is_found(run: Path) -> None:
    record = json.loads((run / "provenance.json").read_text())
    record["identity"]["weights_sha256"] = "0" * 64
    (run / "provenance.json").write_text(json.dumps(record))
    outcome = gradshield("verify", run, "--json")
    assert outcome.code == 2
    checks = {check["name"]: check for check in json.loads(outcome.out)}
    assert [name for name, check in checks.items() if not check["holds"]] == ["model"]
    assert "other weights_sha256" in checks["model"]["text"]


def test_without_scores_no_model_is_needed(tmp_path: Path) -> None:
    folder = made_run(tmp_path)
    assert gradshield("verify", folder.path, "--no-scores").code == 0
    folder.output("kept", ".jsonl").write_bytes(b"")
    outcome = gradshield("verify", folder.path, "--no-scores")
    assert outcome.code == 2
    failed = [line for line in outcome.out.splitlines() if line.startswith("FAILED ")]
    assert [line.split()[1] for line in failed] == ["outputs:", "rows:"]


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    outcome = gradshield("verify", tmp_path)
    assert outcome.code == 1
    assert "is no run folder" in outcome.err
