"""`gradshield compare` on runs; evaluations have their tests beside `evaluate`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gradshield.run.folder import RunFolder
from tests.cli.command_line import gradshield
from tests.run.data_files import good_rows
from tests.run.run_folders import made_run


@pytest.fixture
def first(tmp_path: Path) -> RunFolder:
    return made_run(tmp_path / "first")


def test_what_changed_is_shown(first: RunFolder, tmp_path: Path) -> None:
    second = made_run(tmp_path / "second", threshold=-0.5)
    outcome = gradshield("compare", first.path, second.path)
    assert outcome.code == 0, outcome.err
    assert "Changed sides: 2 kept → removed." in outcome.out
    assert "Rank correlation of the scores (Spearman): +1.0000." in outcome.out
    assert "In both: 6 rows, the same by position; only in the first 0" in outcome.out
    assert gradshield("compare", first.path, second.path, "--fail-if-changed").code == 2


def test_runs_alike(first: RunFolder, tmp_path: Path) -> None:
    second = made_run(tmp_path / "second")
    outcome = gradshield("compare", first.path, second.path, "--fail-if-changed")
    assert outcome.code == 0
    assert "Both were made with the same inputs and settings." in outcome.out
    assert "Changed sides: none." in outcome.out


def test_many_rows_are_cut_on_the_screen_and_whole_in_json(tmp_path: Path) -> None:
    rows = [{**row, "id": f"\x1b[31m{n}"} for n, row in enumerate(good_rows(25))]
    runs = [
        made_run(tmp_path / name, [0.1] * 25, rows=rows, threshold=limit).path
        for name, limit in (("a", 0.0), ("b", 1.0))
    ]
    outcome = gradshield("compare", *runs)
    assert "and 5 more; --json has all of them." in outcome.out
    assert "\x1b" not in outcome.out
    assert len(json.loads(gradshield("compare", *runs, "--json").out)["changed"]) == 25


def test_a_run_and_something_else(first: RunFolder, tmp_path: Path) -> None:
    outcome = gradshield("compare", tmp_path, first.path)
    assert outcome.code == 1
    assert f"{first.path} is a run and {tmp_path} is none" in outcome.err
