"""Comparing runs made by hand: every figure is counted by eye."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradshield.data import open_source
from gradshield.errors import UserError
from gradshield.run.apply import review_of
from gradshield.run.compare_runs import ChangedRow, compare_runs
from gradshield.run.folder import RunFolder
from gradshield.run.incoming_overrides import read_exported
from gradshield.run.overrides import record_overrides
from tests.run.data_files import good_rows
from tests.run.run_folders import SCORES, exported, made_run, mark


@pytest.fixture
def first(tmp_path: Path) -> RunFolder:
    return made_run(tmp_path / "first")


def test_a_run_and_its_like(first: RunFolder, tmp_path: Path) -> None:
    found = compare_runs(first, made_run(tmp_path / "second"))
    assert found.same_rows
    assert (found.settings, found.matched_by, found.pairs) == ({}, "position", 6)
    assert found.counts == {"kept": (3, 3), "removed": (2, 2), "rejected": (1, 1)}
    assert found.rank_correlation == pytest.approx(1.0)


def test_another_threshold(first: RunFolder, tmp_path: Path) -> None:
    found = compare_runs(first, made_run(tmp_path / "second", threshold=-0.5))
    assert found.settings == {"threshold": (0.5, -0.5)}
    assert found.counts["removed"] == (2, 4)
    assert found.moves == {"kept → removed": 2}
    assert found.changed == (
        ChangedRow(3, 3, None, "kept", "removed", 0.4, 0.4),
        ChangedRow(5, 5, None, "kept", "removed", -0.2, -0.2),
    )
    assert not found.same_rows


def test_no_threshold_is_none(first: RunFolder, tmp_path: Path) -> None:
    found = compare_runs(first, made_run(tmp_path / "second", threshold=float("inf")))
    assert found.settings == {"threshold": (0.5, None)}


def test_another_model(first: RunFolder, tmp_path: Path) -> None:
    scores = (1.0, -0.5, 0.1, -0.4, -2.0, 0.2)  # those of the first with the other sign, and row 2
    second = made_run(tmp_path / "second", scores, identity={"model": "other", "dtype": "bfloat16"})
    found = compare_runs(first, second)
    assert found.settings == {"model": ("tiny", "other"), "dtype": (None, "bfloat16")}
    assert found.rank_correlation == pytest.approx(-1.0)
    assert found.moves == {"kept → removed": 1, "removed → kept": 2, "rejected → kept": 1}
    assert found.changed[2] == ChangedRow(2, 2, "2", "rejected", "kept", None, 0.1)


def test_overrides_count(first: RunFolder, tmp_path: Path) -> None:
    second = made_run(tmp_path / "second")
    run = review_of(second, open_source(second.path.parent / "data.jsonl"))
    marks = read_exported(exported(second, [mark(second, 4, "keep")]), run)
    record_overrides(second, marks, run)
    found = compare_runs(first, second)
    assert found.settings == {"overrides": (0, 1)}
    assert found.changed == (ChangedRow(4, 4, "own-4", "removed", "kept", 2.0, 2.0),)


def test_other_data(first: RunFolder, tmp_path: Path) -> None:
    """Row 0 is gone, row 4 was edited and kept its id, row 1 comes twice, and one row is new."""
    rows = good_rows(6)
    edited = {**rows[4], "messages": rows[0]["messages"]}
    new = {"prompt": "New?", "completion": "Yes."}
    second = made_run(
        tmp_path / "second",
        (0.5, None, 0.4, 0.1, -0.2, 0.5, 3.0),
        rows=[rows[1], rows[2], rows[3], edited, rows[5], rows[1], new],
    )
    found = compare_runs(first, second)
    assert (found.matched_by, found.pairs, found.edited) == ("content or id", 5, 1)
    assert (found.only_first, found.only_second) == ((0,), (5, 6))
    assert found.changed == (ChangedRow(4, 3, "own-4", "removed", "kept", 2.0, 0.1),)
    assert set(found.settings) == {"data_sha256"}


def test_data_that_is_gone_leaves_the_ids(first: RunFolder, tmp_path: Path) -> None:
    second = made_run(tmp_path / "second", SCORES[:5], rows=good_rows(6)[1:])
    (tmp_path / "second" / "data.jsonl").unlink()
    found = compare_runs(first, second)
    assert (found.matched_by, found.edited) == ("id", 0)
    assert found.pairs == 2  # rows 2 and 4 have ids that both runs hold
    assert found.only_first == (0, 1, 3, 5)


def test_nothing_to_tell_rows_by(first: RunFolder, tmp_path: Path) -> None:
    second = made_run(tmp_path / "second", (0.1,), rows=[{"prompt": "New?", "completion": "Yes."}])
    (tmp_path / "second" / "data.jsonl").unlink()
    with pytest.raises(UserError, match="no ids tell which rows are the same"):
        compare_runs(first, second)


def test_too_few_scores_have_no_rank(tmp_path: Path) -> None:
    runs = [made_run(tmp_path / name, (0.1, 0.2, None)) for name in "ab"]
    assert compare_runs(*runs).rank_correlation is None
    runs = [made_run(tmp_path / name, (0.1, 0.1, 0.1)) for name in "cd"]
    assert compare_runs(*runs).rank_correlation is None


def test_a_run_without_a_decision(first: RunFolder, tmp_path: Path) -> None:
    second = made_run(tmp_path / "second")
    second.decision.unlink()
    with pytest.raises(UserError, match="gradshield threshold"):
        compare_runs(first, second)
