"""Checking a run folder: whatever is changed in it, a check says so."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from gradshield.data import open_source
from gradshield.run import verify
from gradshield.run.apply import RowsRejected, apply, review_of
from gradshield.run.folder import RunFolder, write_json
from gradshield.run.incoming_overrides import read_exported
from gradshield.run.overrides import in_effect, record_overrides
from gradshield.run.threshold import count_again
from gradshield.run.verify import Check, checked, verify_files
from gradshield.scoring.table import read_table, write_part
from tests.run.run_folders import exported, made_run, mark


def _mark(folder: RunFolder, *marks: dict[str, Any]) -> None:
    run = review_of(folder, open_source(folder.path.parent / "data.jsonl"))
    record_overrides(folder, read_exported(exported(folder, marks), run), run)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run with overrides in effect, all of it applied."""
    folder = made_run(tmp_path, action="annotate")
    _mark(folder, mark(folder, 4, "keep"), mark(folder, 0, "remove"))
    apply(folder.read_config(), folder)
    return folder


def _checks(folder: RunFolder) -> dict[str, Check]:
    return {check.name: check for check in verify_files(folder.read_config(), folder)}


def _failed(folder: RunFolder) -> set[str]:
    return {name for name, check in _checks(folder).items() if not check.holds}


def test_a_run_as_it_was_written_holds(folder: RunFolder) -> None:
    found = _checks(folder)
    assert all(check.holds for check in found.values()), found
    assert list(found) == [
        "input",
        "scores",
        "rejections",
        "overrides",
        "decision",
        "outputs",
        "rows",
    ]
    assert "2 lines" in found["overrides"].text
    assert "annotated.jsonl" in found["outputs"].text


@pytest.mark.parametrize("on_reject", ["hold", "keep", "fail"])
def test_every_treatment_of_rejected_rows_holds(tmp_path: Path, on_reject: str) -> None:
    folder = made_run(tmp_path)
    config = folder.read_config().model_copy(update={"on_reject": on_reject})
    folder.write_config(config)
    try:
        apply(config, folder)
    except RowsRejected:
        assert on_reject == "fail"
    assert _failed(folder) == set()


ROWS = [{"prompt": f"Name river {n}.", "completion": f"Number {n}."} for n in range(6)]


def _as_csv(place: Path) -> Path:
    lines = [f'{row["prompt"]},"{row["completion"]}\r\nEnd"' for row in ROWS]
    path = place / "data.csv"
    path.write_bytes("\r\n".join(["prompt,completion", *lines]).encode())
    return path


def _as_array(place: Path) -> Path:
    path = place / "data.json"
    path.write_text(json.dumps(ROWS, indent=1))
    return path


def _as_gzip(place: Path) -> Path:
    path = place / "data.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, ROWS)).encode()))
    return path


def _as_parquet(place: Path) -> Path:
    path = place / "data.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    return path


def _as_folder(place: Path) -> Path:
    path = place / "data"
    Dataset.from_list(ROWS).save_to_disk(path)
    return path


@pytest.mark.parametrize("written", [_as_csv, _as_array, _as_gzip, _as_parquet, _as_folder])
def test_every_container_holds_with_overrides(
    tmp_path: Path, written: Callable[[Path], Path]
) -> None:
    data = written(tmp_path)
    folder = made_run(tmp_path, data=data, action="downweight")
    run = review_of(folder, open_source(data))
    marks = [mark(folder, row, "keep", fingerprint=run.rows[row]) for row in (1, 2, 4)]
    record_overrides(folder, read_exported(exported(folder, marks), run), run)
    rows = apply(folder.read_config(), folder)
    assert rows.outcomes.tolist() == ["kept"] * 6
    checks = _checks(folder)
    assert [c for c in checks.values() if not c.holds] == []


def _edit_json(path: Path, **fields: Any) -> None:
    write_json(path, {**json.loads(path.read_text()), **fields})


def _change_input(folder: RunFolder) -> None:
    data = folder.path.parent / "data.jsonl"
    data.write_bytes(data.read_bytes().replace(b"river 5", b"river 6"))


def _take_input(folder: RunFolder) -> None:
    (folder.path.parent / "data.jsonl").unlink()


def _change_score(folder: RunFolder) -> None:
    part = folder.scores / "part-00000.parquet"
    lines = list(read_table(folder.scores).lines())
    lines[5]["fihs"] = -0.25
    write_part(lines, part)


def _drop_score(folder: RunFolder) -> None:
    write_part(list(read_table(folder.scores).lines())[:-1], folder.scores / "part-00000.parquet")


def _break_scores(folder: RunFolder) -> None:
    (folder.scores / "part-00000.parquet").write_bytes(b"PAR1 nothing")


def _change_threshold(folder: RunFolder) -> None:
    _edit_json(folder.decision, threshold=0.3)


def _change_counts(folder: RunFolder) -> None:
    _edit_json(folder.decision, kept=4)


def _break_decision(folder: RunFolder) -> None:
    folder.decision.write_text("[1")


def _change_rejections(folder: RunFolder) -> None:
    write_json(folder.rejections, [])


def _add_row(folder: RunFolder) -> None:
    data = (folder.path.parent / "data.jsonl").read_bytes().splitlines(keepends=True)
    kept = folder.output("kept", ".jsonl")
    kept.write_bytes(kept.read_bytes() + data[1])


def _swap_rows(folder: RunFolder) -> None:
    kept = folder.output("kept", ".jsonl")
    kept.write_bytes(b"".join(reversed(kept.read_bytes().splitlines(keepends=True))))


def _take_removed(folder: RunFolder) -> None:
    folder.output("removed", ".jsonl").unlink()


def _change_annotated(folder: RunFolder) -> None:
    annotated = folder.output("annotated", ".jsonl")
    annotated.write_text(annotated.read_text().replace("removed", "kept"))


def _more_marks(folder: RunFolder) -> None:
    _mark(folder, mark(folder, 1, "keep"))


def _more_marks_and_counts(folder: RunFolder) -> None:
    _mark(folder, mark(folder, 1, "keep"))
    count_again(folder)


def _change_trail(folder: RunFolder) -> None:
    text = folder.overrides.read_text()
    folder.overrides.write_text(text.replace('"row":4', '"row":5'))


def _cut_trail(folder: RunFolder) -> None:
    folder.overrides.write_bytes(folder.overrides.read_bytes()[:-30])


def _change_reason(folder: RunFolder) -> None:
    text = folder.overrides.read_text()
    folder.overrides.write_text(text.replace("Read it twice", "Read it once"))


def _take_last_mark(folder: RunFolder) -> None:
    first, *_ = folder.overrides.read_text().splitlines(keepends=True)
    folder.overrides.write_text(first)


def _take_record(folder: RunFolder) -> None:
    folder.outputs.unlink()


NEEDS_TRAIL = {"overrides", "decision", "rows"}


@pytest.mark.parametrize(
    ("damage", "failed"),
    [
        (_change_input, {"input", "rows"}),
        (_take_input, {"input", "scores", "overrides", "rows"}),
        (_change_score, {"scores"}),
        (_drop_score, {"scores", "decision", "rows"}),
        (_break_scores, {"scores", "rejections", "decision", "rows"}),
        (_change_threshold, {"decision", "rows"}),
        (_change_counts, {"decision"}),
        (_break_decision, {"decision", "rows"}),
        (_change_rejections, {"rejections"}),
        (_add_row, {"outputs", "rows"}),
        (_swap_rows, {"outputs", "rows"}),
        (_take_removed, {"outputs", "rows"}),
        (_change_annotated, {"outputs"}),
        (_more_marks, NEEDS_TRAIL),
        (_more_marks_and_counts, {"overrides", "rows"}),
        (_change_trail, NEEDS_TRAIL),
        (_cut_trail, NEEDS_TRAIL),
        (_change_reason, {"overrides"}),
        (_take_last_mark, NEEDS_TRAIL),
        (_take_record, {"scores", "overrides", "outputs"}),
    ],
)
def test_damage_is_found(
    folder: RunFolder, damage: Callable[[RunFolder], None], failed: set[str]
) -> None:
    damage(folder)
    assert _failed(folder) == failed


def test_what_is_wrong_is_told_in_figures(folder: RunFolder) -> None:
    _add_row(folder)
    text = _checks(folder)["rows"].text
    assert "kept.jsonl lacks 0 rows and has 1 that do not belong there" in text
    _swap_rows(folder)
    apply(folder.read_config(), folder)
    _swap_rows(folder)
    assert "kept.jsonl has its rows in another order" in _checks(folder)["rows"].text


def test_an_override_that_expired_is_told(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    _mark(folder, mark(folder, 4, "keep", expires="2027-01-01T00:00:00Z"))
    apply(folder.read_config(), folder)
    later = datetime(2027, 1, 1, tzinfo=timezone.utc)
    monkeypatch.setattr(verify, "in_effect", lambda recorded: in_effect(recorded, later))
    found = _checks(folder)["overrides"]
    assert not found.holds
    assert found.text.startswith("row 4: marked, withdrawn or expired since")


def test_a_check_never_ends_in_a_traceback() -> None:
    def broken() -> str:
        raise KeyError("files")

    assert checked("x", broken) == Check("x", False, "a file of the run cannot be read: 'files'")
