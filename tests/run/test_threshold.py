"""The step from scores to a decision, on score tables made by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradshield.config import ThresholdSettings
from gradshield.errors import UserError
from gradshield.run.folder import RunFolder, write_json
from gradshield.run.threshold import divide, read_decision, read_reference, read_scores, threshold
from gradshield.scoring.table import columns_of, rejected_line, write_part


def _line(row: int, fihs: float | None) -> dict[str, Any]:
    if fihs is None:
        return rejected_line(row, None, "empty_response: nothing to learn")
    return rejected_line(row, None, "") | {
        "fihs": fihs,
        "loss": 1.0,
        "response_tokens": 1,
        "truncated": False,
        "status": "scored",
        "reason": None,
    }


def _folder(path: Path, scores: list[float | None]) -> RunFolder:
    folder = RunFolder(path)
    lines = [_line(row, fihs) for row, fihs in enumerate(scores)]
    write_part(lines[3:], folder.scores / "part-00001.parquet")
    write_part(lines[:3], folder.scores / "part-00000.parquet")
    write_json(folder.rejections, [])
    return folder


def test_a_row_at_the_threshold_is_removed() -> None:
    lines = [_line(0, 0.5), _line(1, 0.7), _line(2, None), _line(3, math.nextafter(0.5, 0))]
    rows = divide(columns_of(lines), 0.5)
    assert (rows.kept, rows.removed, rows.rejected) == ((3,), (0, 1), (2,))


@settings(deadline=None)
@given(
    scores=st.lists(st.none() | st.floats(-5, 5), max_size=20),
    level=st.floats(-6, 6) | st.just(math.inf),
)
def test_every_row_is_in_exactly_one_part(scores: list[float | None], level: float) -> None:
    rows = divide(columns_of(_line(row, fihs) for row, fihs in enumerate(scores)), level)
    together = (*rows.kept, *rows.removed, *rows.rejected)
    assert sorted(together) == list(range(len(scores)))
    for part in (rows.kept, rows.removed, rows.rejected):
        assert list(part) == sorted(part)


def test_decision_counts_every_row_and_reads_back(tmp_path: Path) -> None:
    scores = [0.1, -0.1] * 10 + [2.0, 2.1]
    folder = _folder(tmp_path, [*scores, None])
    decision = threshold(folder, ThresholdSettings(rule="paper", level=0.1, seed=4))
    stored = read_decision(folder)
    assert stored["threshold"] == decision.threshold
    removed = sum(score >= stored["threshold"] for score in scores)
    assert 2 <= removed < len(scores)
    counts = (stored["kept"], stored["removed"], stored["rejected"])
    assert counts == (len(scores) - removed, removed, 1)
    assert (stored["method"], stored["level"], stored["seed"]) == ("paper", 0.1, 4)
    assert stored["reason"] == decision.reason
    assert stored["diagnostics"] == json.loads(json.dumps(decision.diagnostics))


def test_a_threshold_that_removes_nothing_is_null_in_the_file(tmp_path: Path) -> None:
    folder = _folder(tmp_path, [0.25] * 5)
    assert threshold(folder, ThresholdSettings()).threshold == math.inf
    assert json.loads(folder.decision.read_text())["threshold"] is None
    assert read_decision(folder)["threshold"] == math.inf
    assert read_decision(folder)["kept"] == 5


def test_scores_of_all_parts_come_in_row_order(tmp_path: Path) -> None:
    folder = _folder(tmp_path, [0.5, 0.4, 0.3, 0.2, 0.1])
    assert read_scores(folder).scores() == [0.5, 0.4, 0.3, 0.2, 0.1]


def test_the_rule_gets_the_finite_reference_scores(tmp_path: Path) -> None:
    folder = _folder(tmp_path, [0.0, 1.0])
    assert read_reference(folder) is None
    write_part([_line(0, 0.5), _line(1, None), _line(2, 0.25)], folder.reference)
    reference = read_reference(folder)
    assert reference is not None
    assert reference.tolist() == [0.5, 0.25]


def test_a_rule_that_lacks_its_reference_is_the_users_to_mend(tmp_path: Path) -> None:
    folder = _folder(tmp_path, [0.0, 1.0, 2.0])
    with pytest.raises(UserError, match="reference"):
        threshold(folder, ThresholdSettings(rule="calibrated"))
    assert not folder.decision.exists()


def test_nothing_scored_yet(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"No scores .* yet"):
        read_scores(RunFolder(tmp_path))
    with pytest.raises(UserError, match=r"No decision .* yet"):
        read_decision(RunFolder(tmp_path))


def test_part_of_a_table_is_not_taken_for_all_of_it(tmp_path: Path) -> None:
    folder = _folder(tmp_path, [0.0, 1.0, 2.0])
    folder.rejections.unlink()
    with pytest.raises(UserError, match="stopped after 3 rows"):
        read_scores(folder)
