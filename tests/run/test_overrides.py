"""The trail of overrides: what is recorded, what counts, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradshield.data import open_source
from gradshield.errors import UserError
from gradshield.run.actions import DECISION, WEIGHT, new_columns
from gradshield.run.apply import RowsRejected, apply, check_input, review_of
from gradshield.run.folder import RunFolder
from gradshield.run.incoming_overrides import read_exported
from gradshield.run.overrides import (
    Override,
    in_effect,
    not_recorded,
    read_overrides,
    record_overrides,
)
from gradshield.run.threshold import RowDecision, counted, divide
from gradshield.scoring.table import columns_of
from tests.run.run_folders import SCORES, exported, line, made_run, mark, positions


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return made_run(tmp_path)


def _record(folder: RunFolder, *marks: dict[str, Any]) -> None:
    run = review_of(folder, open_source(folder.path.parent / "data.jsonl"))
    read = read_exported(exported(folder, marks), run)
    record_overrides(folder, not_recorded(folder, read), run)


def test_what_is_recorded_tells_all(folder: RunFolder) -> None:
    _record(folder, mark(folder, 4, "keep", expires="2027-01-01T00:00:00+01:00"))
    _record(folder, mark(folder, 2, "keep", reviewer="  Bo ", reason="Fine.\n"))
    first, second = map(json.loads, folder.overrides.read_text().splitlines())
    assert (first["row"], first["action"], first["reviewer"]) == (4, "keep", "Ada")
    assert (first["fihs"], first["threshold"], first["time"]) == (2.0, 0.5, "2026-11-26T07:00:00Z")
    assert first["expires"] == "2027-01-01T00:00:00+01:00"
    assert (second["fihs"], second["reviewer"], second["reason"]) == (None, "Bo", "Fine.")
    assert first["run"] == second["run"] != ""


def test_the_trail_only_grows_and_the_same_mark_is_recorded_once(folder: RunFolder) -> None:
    _record(folder, mark(folder, 4, "keep"))
    before = folder.overrides.read_bytes()
    _record(folder, mark(folder, 4, "keep"), mark(folder, 4, "remove"))
    after = folder.overrides.read_bytes()
    assert after.startswith(before)
    assert [one.action for one in read_overrides(folder)] == ["keep", "remove"]


def test_the_last_line_of_a_row_counts(folder: RunFolder) -> None:
    _record(folder, mark(folder, 4, "keep"), mark(folder, 0, "remove"))
    _record(folder, mark(folder, 4, "remove"), mark(folder, 0, "withdraw"))
    assert {row: one.action for row, one in in_effect(read_overrides(folder)).items()} == {
        4: "remove"
    }


def test_an_expired_override_leaves_the_row_to_the_score(folder: RunFolder) -> None:
    _record(folder, mark(folder, 4, "keep", expires="2026-12-01T00:00:00Z"))
    recorded = read_overrides(folder)
    day_before, day_itself = (
        datetime(2026, m, d, tzinfo=timezone.utc) for m, d in ((11, 30), (12, 1))
    )
    assert set(in_effect(recorded, day_before)) == {4}
    assert in_effect(recorded, day_itself) == {}


def test_a_trail_that_was_edited_or_cut_short(folder: RunFolder) -> None:
    _record(folder, mark(folder, 4, "keep"), mark(folder, 0, "remove"))
    lines = folder.overrides.read_text().splitlines()
    config = folder.read_config()

    folder.overrides.write_text(lines[0] + "\n" + lines[1][:40])
    with pytest.raises(UserError, match=r"overrides\.jsonl:2: this is no override"):
        check_input(config, folder)
    other = {**json.loads(lines[1]), "run": "f" * 64}
    folder.overrides.write_text(f"{lines[0]}\n{json.dumps(other)}\n")
    with pytest.raises(UserError, match=r"overrides\.jsonl:2: this override is of another run"):
        check_input(config, folder)
    moved = {**json.loads(lines[1]), "row": 1}
    folder.overrides.write_text(f"{lines[0]}\n{json.dumps(moved)}\n")
    with pytest.raises(UserError, match="the override of row 1 by Ada was made for another text"):
        check_input(config, folder)


def test_files_and_decision_follow(folder: RunFolder) -> None:
    marks = [mark(folder, 4, "keep"), mark(folder, 2, "keep"), mark(folder, 0, "keep")]
    _record(folder, *marks, mark(folder, 3, "remove", reviewer="Bo"))
    apply(folder.read_config(), folder)
    assert positions(folder, "kept") == [0, 2, 4, 5]
    assert positions(folder, "removed") == [1, 3]
    assert positions(folder, "rejected") == []
    decision = json.loads(folder.decision.read_text())
    assert (decision["kept"], decision["removed"], decision["rejected"]) == (4, 2, 0)
    assert decision["overrides"] == {
        "reviewers": {"Ada": 3, "Bo": 1},
        "agreeing": 1,
        "overruled": [
            {"row": 2, "from": "rejected", "to": "kept", "reviewer": "Ada"},
            {"row": 3, "from": "kept", "to": "removed", "reviewer": "Bo"},
            {"row": 4, "from": "removed", "to": "kept", "reviewer": "Ada"},
        ],
    }


def test_a_rejected_row_that_was_ruled_on_fails_no_run(folder: RunFolder) -> None:
    config = folder.read_config().model_copy(update={"on_reject": "fail"})
    with pytest.raises(RowsRejected):
        apply(config, folder)
    _record(folder, mark(folder, 2, "remove"))
    apply(config, folder)
    assert positions(folder, "kept") == [0, 3, 5]
    assert positions(folder, "removed") == [1, 2, 4]


def test_columns_follow_the_reviewer() -> None:
    table = columns_of(line(row, fihs) for row, fihs in enumerate(SCORES))
    overrides = {0: _of("remove"), 1: _of("remove"), 2: _of("keep"), 4: _of("keep")}
    columns = new_columns(table, 0.5, "downweight", overrides=overrides)
    assert columns[DECISION] == ["removed", "removed", "kept", "kept", "kept", "kept"]
    assert columns[WEIGHT] == [0.0, 0.0, 1.0, 1.0, 1.0, 1.0]


def _of(action: str) -> Override:
    fields = {"row": 0, "fingerprint": "0" * 64, "time": "2026-11-26T07:00:00Z"}
    return Override.model_validate({**fields, "action": action, "reviewer": "A", "reason": "B"})


@given(
    scores=st.lists(st.none() | st.floats(-2, 2), max_size=12),
    threshold=st.floats(-3, 3) | st.just(float("inf")),
    ruled=st.dictionaries(st.integers(0, 11), st.sampled_from(["keep", "remove"])),
)
def test_every_row_is_accounted_for_once_and_ruled_rows_are_where_they_were_put(
    scores: list[float | None], threshold: float, ruled: Mapping[int, str]
) -> None:
    table = columns_of(line(row, fihs) for row, fihs in enumerate(scores))
    overrides = {row: _of(action) for row, action in ruled.items() if row < len(scores)}
    rows = divide(table, threshold, overrides)
    assert sorted((*rows.kept, *rows.removed, *rows.rejected)) == list(range(len(scores)))
    for part in (rows.kept, rows.removed, rows.rejected):
        assert list(part) == sorted(part)
    for row, override in overrides.items():
        assert row in {"keep": rows.kept, "remove": rows.removed}[override.action]
    alone = divide(table, threshold)
    untouched = set(range(len(scores))) - set(overrides)
    assert all(rows.outcomes[row] == alone.outcomes[row] for row in untouched)
    review = counted(table, threshold, overrides)["overrides"]
    assert review["agreeing"] + len(review["overruled"]) == len(overrides)
    assert {entry["row"] for entry in review["overruled"]} == {
        row for row in range(len(scores)) if alone.outcomes[row] != rows.outcomes[row]
    }


def test_rows_without_an_override_need_none() -> None:
    table = columns_of(line(row, fihs) for row, fihs in enumerate(SCORES))
    assert divide(table, 0.5) == RowDecision((0, 3, 5), (1, 4), (2,))
