"""Annotating and weighing rows, on run folders made by hand: no model is needed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradshield.config import RunConfig
from gradshield.errors import UserError
from gradshield.files import sha256_of
from gradshield.run.actions import DECISION, FIHS, WEIGHT, new_columns, row_weight
from gradshield.run.apply import RowsRejected, apply
from gradshield.run.folder import RunFolder, write_json
from gradshield.scoring.table import columns_of, rejected_line, write_part
from tests.run.data_files import good_rows, write_jsonl

SCORES = [-1.0, 0.5, None, 0.4, 2.0]
DECISIONS = ["kept", "removed", "rejected", "kept", "removed"]
WEIGHTS = [1.0, 1.0, 0.0, 1.0, 0.25]
"""By hand, at the threshold 0.5: the row at it counts whole, 2.0 is four times as much."""


def _lines(scores: list[float | None]) -> list[dict[str, Any]]:
    return [
        rejected_line(row, None, "")
        | {"fihs": fihs, "status": "rejected" if fihs is None else "scored"}
        for row, fihs in enumerate(scores)
    ]


def _run(data: Path, scores: list[float | None]) -> RunFolder:
    folder = RunFolder(data.parent / "run")
    write_part(_lines(scores), folder.scores / "part-00000.parquet")
    write_json(folder.rejections, [])
    write_json(folder.decision, {"threshold": 0.5})
    write_json(folder.provenance, {"data": str(data), "identity": {"data_sha256": sha256_of(data)}})
    return folder


def _apply(data: Path, folder: RunFolder, action: str, on_reject: str = "hold") -> None:
    settings = {"data_path": str(data), "action": action, "on_reject": on_reject}
    apply(RunConfig.model_validate(settings), folder)


def _annotated(folder: RunFolder) -> list[dict[str, Any]]:
    text = folder.output("annotated", ".jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _files(folder: RunFolder) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for name in ("kept", "removed", "rejected")
        for path in folder.path.glob(f"{name}.*")
    }


@pytest.mark.parametrize(
    ("fihs", "threshold", "weight"),
    [
        (0.49, 0.5, 1.0),
        (0.5, 0.5, 1.0),
        (1.0, 0.5, 0.5),
        (5.0, 0.5, 0.1),
        (-3.0, -2.0, 1.0),
        (-1.0, -2.0, 0.0),
        (0.0, 0.0, 0.0),
        (7.0, 0.0, 0.0),
        (1e300, math.inf, 1.0),
        (None, 0.5, 0.0),
    ],
)
def test_weights_by_hand(fihs: float | None, threshold: float, weight: float) -> None:
    assert row_weight(fihs, threshold) == weight


scores = st.floats(allow_nan=False, allow_infinity=False)
thresholds = st.floats(allow_nan=False)


@given(fihs=scores, threshold=thresholds)
def test_a_weight_is_a_share(fihs: float, threshold: float) -> None:
    weight = row_weight(fihs, threshold)
    assert 0 <= weight <= 1
    if fihs < threshold:
        assert weight == 1


@given(low=scores, high=scores, threshold=thresholds)
def test_a_weight_never_rises_with_the_score(low: float, high: float, threshold: float) -> None:
    low, high = sorted((low, high))
    assert row_weight(low, threshold) >= row_weight(high, threshold)


@given(fihs=st.floats(-100, 100), threshold=st.floats(1e-3, 100))
def test_a_weighted_row_pulls_no_more_than_one_at_the_threshold(
    fihs: float, threshold: float
) -> None:
    pull = row_weight(fihs, threshold) * fihs
    assert pull <= threshold * (1 + 1e-12)
    if fihs >= threshold:
        assert pull == pytest.approx(threshold)


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("drop", {}),
        ("annotate", {FIHS: SCORES, DECISION: DECISIONS}),
        ("downweight", {FIHS: SCORES, DECISION: DECISIONS, WEIGHT: WEIGHTS}),
    ],
)
def test_columns_of_each_action(action: str, expected: dict[str, list[Any]]) -> None:
    assert new_columns(columns_of(_lines(SCORES)), 0.5, action) == expected


def test_json_lines_keep_their_own_keys_first(tmp_path: Path) -> None:
    rows = good_rows(5)
    rows[4]["note"] = "half \ud83d of ü"
    data = write_jsonl(tmp_path / "data.jsonl", rows)
    before = data.read_bytes()
    folder = _run(data, SCORES)
    _apply(data, folder, "downweight")
    found = _annotated(folder)
    assert [list(row) for row in found] == [[*row, FIHS, DECISION, WEIGHT] for row in rows]
    added = zip(rows, SCORES, DECISIONS, WEIGHTS, strict=True)
    assert found == [row | {FIHS: f, DECISION: d, WEIGHT: w} for row, f, d, w in added]
    assert data.read_bytes() == before


def test_a_json_array_becomes_json_lines(tmp_path: Path) -> None:
    rows: list[Any] = [*good_rows(4), "no object"]
    data = tmp_path / "data.json"
    data.write_text(json.dumps(rows, indent=1))
    folder = _run(data, [-1.0, 0.5, 0.4, 2.0, None])
    _apply(data, folder, "annotate")
    added = zip(rows[:4], [-1.0, 0.5, 0.4, 2.0], ["kept", "removed"] * 2, strict=True)
    assert _annotated(folder) == [row | {FIHS: f, DECISION: d} for row, f, d in added]
    assert json.loads(folder.output("rejected", ".json").read_text()) == ["no object"]
    # What cannot take a key is missing there, and counted.
    assert json.loads(folder.decision.read_text())["annotated"] == 4


def _table() -> pa.Table:
    schema = pa.schema(
        [("prompt", pa.large_string()), ("completion", pa.string()), ("n", pa.float32())],
        metadata={"origin": "test"},
    )
    rows = [{"prompt": f"Name {n}", "completion": "Yes.", "n": n / 8} for n in range(5)]
    return pa.Table.from_pylist(rows, schema=schema)


def test_parquet_keeps_its_schema_and_gains_columns(tmp_path: Path) -> None:
    data = tmp_path / "data.parquet"
    pq.write_table(_table(), data)
    before = data.read_bytes()
    folder = _run(data, SCORES)
    _apply(data, folder, "downweight")
    found = pq.read_table(folder.output("annotated", ".parquet"))
    own = found.select(["prompt", "completion", "n"])
    assert own.equals(_table())
    assert own.schema.equals(_table().schema, check_metadata=True)
    assert found.schema.names[3:] == [FIHS, DECISION, WEIGHT]
    assert found.select([FIHS, DECISION, WEIGHT]).to_pydict() == {
        FIHS: SCORES,
        DECISION: DECISIONS,
        WEIGHT: WEIGHTS,
    }
    assert data.read_bytes() == before
    assert not folder.output("annotated", ".jsonl").exists()


@pytest.mark.parametrize("split", [None, "train"])
def test_a_datasets_folder_becomes_parquet_that_the_library_reads(
    tmp_path: Path, split: str | None
) -> None:
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

    features = Features({"prompt": Value("string"), "label": ClassLabel(names=["a", "b"])})
    values = {"prompt": list("abcdef"), "label": [0, 1] * 3}
    # A selection: what is on disk under it has rows that are not part of it.
    whole = Dataset.from_dict(values, features=features).select([5, 4, 3, 2, 1])
    (whole if split is None else DatasetDict({split: whole})).save_to_disk(tmp_path / "data")
    folder = _run(tmp_path / "data", SCORES)
    _apply(tmp_path / "data", folder, "annotate")
    target = str(folder.output("annotated", ".parquet"))
    found = Dataset.from_parquet(target, cache_dir=str(tmp_path / "cache"))
    assert list(found["prompt"]) == list("fedcb")
    assert found.features["label"] == features["label"]
    assert list(found[FIHS]) == SCORES
    assert list(found[DECISION]) == DECISIONS


@pytest.mark.parametrize("action", ["annotate", "downweight"])
def test_the_three_files_are_those_of_drop(tmp_path: Path, action: str) -> None:
    data = write_jsonl(tmp_path / "data.jsonl", good_rows(5))
    folder = _run(data, SCORES)
    _apply(data, folder, "drop")
    assert not folder.output("annotated", ".jsonl").exists()
    before = _files(folder)
    assert len(before) == 3
    _apply(data, folder, action)
    assert _files(folder) == before
    assert json.loads(folder.decision.read_text())["action"] == action


def test_another_action_takes_the_place_of_the_last(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data.jsonl", good_rows(5))
    folder = _run(data, SCORES)
    _apply(data, folder, "downweight")
    assert all(WEIGHT in row for row in _annotated(folder))
    _apply(data, folder, "annotate")
    assert not any(WEIGHT in row for row in _annotated(folder))
    _apply(data, folder, "drop")
    assert not folder.output("annotated", ".jsonl").exists()
    decision = json.loads(folder.decision.read_text())
    assert (decision["threshold"], decision["action"]) == (0.5, "drop")
    assert "annotated" not in decision


def test_an_infinite_threshold_stays_null_in_the_decision(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data.jsonl", good_rows(5))
    folder = _run(data, SCORES)
    write_json(folder.decision, {"threshold": None})
    _apply(data, folder, "downweight")
    assert [row[WEIGHT] for row in _annotated(folder)] == [1.0, 1.0, 0.0, 1.0, 1.0]
    assert json.loads(folder.decision.read_text())["threshold"] is None


def test_a_rejected_row_that_is_kept_counts_whole(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data.jsonl", good_rows(5))
    folder = _run(data, SCORES)
    _apply(data, folder, "downweight", on_reject="keep")
    assert (_annotated(folder)[2][DECISION], _annotated(folder)[2][WEIGHT]) == ("rejected", 1.0)


def test_fail_takes_the_annotated_file_away_too(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data.jsonl", good_rows(5))
    folder = _run(data, SCORES)
    _apply(data, folder, "annotate")
    with pytest.raises(RowsRejected):
        _apply(data, folder, "annotate", on_reject="fail")
    assert not folder.output("annotated", ".jsonl").exists()


def test_a_key_of_the_rows_own_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    rows = good_rows(5)
    rows[3][WEIGHT] = 0.5
    data = write_jsonl(tmp_path / "data.jsonl", rows)
    folder = _run(data, SCORES)
    before = sorted(folder.path.rglob("*"))
    with pytest.raises(UserError, match=f"line 4 has the key {WEIGHT} already"):
        _apply(data, folder, "downweight")
    assert sorted(folder.path.rglob("*")) == before
    assert json.loads(folder.decision.read_text()) == {"threshold": 0.5}
    # An action that does not write this key may be used.
    _apply(data, folder, "annotate")
    assert _annotated(folder)[3][WEIGHT] == 0.5


def test_a_column_of_the_tables_own_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data.parquet"
    pq.write_table(_table().append_column(FIHS, pa.array([0.0] * 5)), data)
    folder = _run(data, SCORES)
    with pytest.raises(UserError, match=f"row 0 has the key {FIHS} already"):
        _apply(data, folder, "annotate")
    assert not folder.output("annotated", ".parquet").exists()


def test_force_deletes_the_annotated_file_of_another_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.claim({"proxy": "a"}, {}, force=False)
    folder.output("annotated", ".jsonl").write_text("{}")
    folder.claim({"proxy": "b"}, {}, force=True)
    assert not folder.output("annotated", ".jsonl").exists()
