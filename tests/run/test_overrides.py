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
from gradshield.run.overrides import (
    Override,
    in_effect,
    not_recorded,
    read_exported,
    read_overrides,
    record_overrides,
)
from gradshield.run.threshold import RowDecision, counted, divide
from tests.run.run_folders import SCORES, exported, line, made_run, mark, positions


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return made_run(tmp_path)


def _record(folder: RunFolder, *marks: dict[str, Any]) -> None:
    run = review_of(folder, open_source(str(folder.path.parent / "data.jsonl")))
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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"row": 6}, r"override 2 \(row 6\): there is no such row, the input has 6"),
        ({"row": -1}, r"override 2 \(row -1\): row: "),
        ({"row": True}, r"override 2 .*row: "),
        ({"row": 10**30}, "override 2 .*"),
        ({"fingerprint": "0" * 64}, r"override 2 \(row 1\): the row is not the one that was"),
        ({"fingerprint": "x"}, r"override 2 \(row 1\): fingerprint: "),
        ({"action": "hold"}, r"override 2 \(row 1\): the action 'hold' is unknown, choose keep"),
        ({"reason": " \n"}, r"override 2 \(row 1\): its reason is empty"),
        ({"reason": "\ud800"}, r"override 2 \(row 1\): reason: "),
        ({"reason": None}, r"override 2 \(row 1\): reason: "),
        ({"reason": "x" * 4001}, r"override 2 \(row 1\): reason: "),
        ({"reviewer": ""}, r"override 2 \(row 1\): its reviewer is empty"),
        ({"time": "yesterday"}, r"override 2 \(row 1\): time: "),
        ({"time": "2026-11-26T07:00:00"}, r"override 2 \(row 1\): time: .*timezone"),
        ({"expire": "2026-11-26T07:00:00Z"}, r"override 2 \(row 1\): expire: "),
    ],
)
def test_an_override_that_cannot_be_applied_is_named(
    folder: RunFolder, change: dict[str, Any], words: str
) -> None:
    run = review_of(folder, open_source(str(folder.path.parent / "data.jsonl")))
    path = exported(folder, [mark(folder, 0, "keep"), mark(folder, 1, "keep", **{}) | change])
    with pytest.raises(UserError, match=words):
        read_exported(path, run)
    assert not folder.overrides.exists()


@pytest.mark.parametrize("entry", [None, 3, [], "keep", {}, {"row": 1}])
def test_what_is_no_override_is_named(folder: RunFolder, entry: Any) -> None:
    run = review_of(folder, open_source(str(folder.path.parent / "data.jsonl")))
    with pytest.raises(UserError, match=r"overrides\.json, override 1"):
        read_exported(exported(folder, [entry]), run)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no JSON"),
        (b"\xff\xfe", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[]", "no file of overrides"),
        (b'{"version": 1, "run": "a"}', "no file of overrides"),
        (b'{"version": 2, "run": "a", "overrides": []}', "has the version 2"),
        (b'{"version": 1, "run": "a", "overrides": []}', "made for another run"),
        (b'{"version": 1, "overrides": []}', "made for another run"),
    ],
)
def test_a_file_that_is_not_of_this_run(folder: RunFolder, content: bytes, words: str) -> None:
    path = folder.path.parent / "overrides.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words):
        read_exported(path, review_of(folder, open_source(str(folder.path.parent / "data.jsonl"))))


def test_a_name_for_those_that_have_none(folder: RunFolder) -> None:
    run = review_of(folder, open_source(str(folder.path.parent / "data.jsonl")))
    nameless = mark(folder, 0, "keep")
    del nameless["reviewer"]
    path = exported(folder, [nameless, mark(folder, 1, "keep")])
    assert [one.reviewer for one in read_exported(path, run, "Bo")] == ["Bo", "Ada"]
    with pytest.raises(UserError, match="it has no reviewer"):
        read_exported(path, run)


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
    lines = [line(row, fihs) for row, fihs in enumerate(SCORES)]
    overrides = {0: _of("remove"), 1: _of("remove"), 2: _of("keep"), 4: _of("keep")}
    columns = new_columns(lines, 0.5, "downweight", overrides=overrides)
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
    lines = [line(row, fihs) for row, fihs in enumerate(scores)]
    overrides = {row: _of(action) for row, action in ruled.items() if row < len(scores)}
    rows = divide(lines, threshold, overrides)
    assert sorted((*rows.kept, *rows.removed, *rows.rejected)) == list(range(len(scores)))
    for part in (rows.kept, rows.removed, rows.rejected):
        assert list(part) == sorted(part)
    for row, override in overrides.items():
        assert row in {"keep": rows.kept, "remove": rows.removed}[override.action]
    alone = divide(lines, threshold)
    untouched = set(range(len(scores))) - set(overrides)
    assert all(rows.outcomes[row] == alone.outcomes[row] for row in untouched)
    review = counted(lines, threshold, overrides)["overrides"]
    assert review["agreeing"] + len(review["overruled"]) == len(overrides)
    assert {entry["row"] for entry in review["overruled"]} == {
        row for row in alone.outcomes if alone.outcomes[row] != rows.outcomes[row]
    }


def test_rows_without_an_override_need_none() -> None:
    lines = [line(row, fihs) for row, fihs in enumerate(SCORES)]
    assert divide(lines, 0.5) == RowDecision((0, 3, 5), (1, 4), (2,))
