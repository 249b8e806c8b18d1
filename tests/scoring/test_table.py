from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradshield.data.pairs import TokenizedPair
from gradshield.data.tokenization import TokenizedExample
from gradshield.scoring.engines import ExampleScore
from gradshield.scoring.table import (
    SCHEMA,
    columns_of,
    read_table,
    rejected_line,
    scored_line,
    write_part,
)

EXAMPLE = TokenizedExample(3, (10, 11, 12, 13), (False, True, False, True), truncated=True)


def test_a_scored_line_holds_the_response_tokens_and_their_shares() -> None:
    line = scored_line(EXAMPLE, ExampleScore(3, 0.5, 2.0, (0.2, 0.3)), 17)
    assert line == {
        "row": 3,
        "id": "17",
        "fihs": 0.5,
        "loss": 2.0,
        "response_tokens": 2,
        "truncated": True,
        "status": "scored",
        "reason": None,
        "token_ids": [11, 13],
        "token_fihs": [0.2, 0.3],
        "chosen_tokens": None,
    }
    assert list(line) == SCHEMA.names


def test_a_line_of_a_preference_holds_the_tokens_of_both_answers() -> None:
    other = TokenizedExample(3, (10, 14, 12, 15, 16), (False, False, True, True, True), False)
    pair = TokenizedPair(EXAMPLE, other)
    line = scored_line(pair, ExampleScore(3, 0.5, 2.0, (0.1, 0.2, 0.3, 0.4, -0.5)), None)
    assert line["token_ids"] == [11, 13, 12, 15, 16]
    assert line["token_fihs"] == [0.1, 0.2, 0.3, 0.4, -0.5]
    assert (line["chosen_tokens"], line["response_tokens"]) == (2, 5)
    assert line["truncated"]
    assert (line["row"], line["status"]) == (3, "scored")


def test_a_table_written_before_preferences_were_known_is_read(tmp_path: Path) -> None:
    line = scored_line(EXAMPLE, ExampleScore(3, 0.5, 2.0, (0.2, 0.3)), None)
    before = pa.schema([field for field in SCHEMA if field.name != "chosen_tokens"])
    pq.write_table(pa.Table.from_pylist([line], schema=before), tmp_path / "part-00000.parquet")
    table = read_table(tmp_path)
    assert (table.scores(), table.holds_pairs) == ([0.5], False)
    assert list(table.lines()) == [line]


@pytest.mark.parametrize(("fihs", "loss"), [(math.nan, 1.0), (math.inf, 1.0), (0.1, math.nan)])
def test_a_score_that_is_no_number_is_a_rejection(fihs: float, loss: float) -> None:
    line = scored_line(EXAMPLE, ExampleScore(3, fihs, loss), None)
    assert (line["row"], line["status"], line["id"]) == (3, "rejected", None)
    assert line["fihs"] is None
    assert line["loss"] is None
    assert "float32" in line["reason"]


def test_a_table_in_parts_reads_back_in_the_order_of_the_rows(tmp_path: Path) -> None:
    scored = scored_line(EXAMPLE, ExampleScore(3, 0.5, 2.0), None)
    rejected = rejected_line(1, "b", "no response")
    first = scored_line(
        TokenizedExample(0, (1, 2), (False, True), False), ExampleScore(0, -1.0, 0.0, (-1.0,)), "a"
    )
    write_part([scored, rejected], tmp_path / "part-00000.parquet")
    write_part([first], tmp_path / "part-00001.parquet")
    assert list(read_table(tmp_path).lines()) == [first, rejected, scored]


def test_a_part_is_written_anew_unless_it_is_to_stay(tmp_path: Path) -> None:
    path = tmp_path / "part-00000.parquet"
    for row in (0, 1):
        write_part([_scored(row, 0.5)], path)
    write_part([_scored(2, 0.5)], path, once=True)
    assert read_table(tmp_path).row.tolist() == [1]


def test_no_part_is_an_empty_table(tmp_path: Path) -> None:
    assert list(read_table(tmp_path / "absent").lines()) == []


def test_columns_are_those_of_the_lines_in_the_order_of_the_rows(tmp_path: Path) -> None:
    lines = [_scored(row, float(row)) for row in (0, 2, 3)]
    lines.insert(1, rejected_line(1, "own", "empty_response: turn 2 has no text"))
    write_part(lines[2:], tmp_path / "part-00000.parquet")  # names that tell another order
    write_part(lines[:2], tmp_path / "part-00001.parquet")
    table = read_table(tmp_path)
    assert table.row.tolist() == [0, 1, 2, 3]
    assert table.scored.tolist() == [True, False, True, True]
    assert table.scores() == [0.0, None, 2.0, 3.0]
    assert table.fihs_by_row() == {0: 0.0, 2: 2.0, 3: 3.0}
    assert table.id.to_pylist() == [None, "own", None, None]
    assert table.reasons == {1: "empty_response: turn 2 has no text"}
    assert not table.holds_pairs
    assert table.files == (tmp_path / "part-00001.parquet", tmp_path / "part-00000.parquet")
    assert np.isnan(table.loss).tolist() == [False, True, False, False]
    assert table.response_tokens.tolist() == [1, 0, 1, 1]
    assert table.truncated.tolist() == [False, False, False, False]
    kinds = [column.dtype.kind for column in (table.row, table.response_tokens, table.truncated)]
    assert kinds == ["i", "i", "b"]
    assert list(table.lines()) == lines
    assert [line["fihs"] for line in table.lines(["fihs"])] == table.scores()
    assert table.lines_of([3, 1]) == {1: lines[1], 3: lines[3]}
    assert table.lines_of([]) == {}
    chosen = [row for batch in table.batches(["row"], np.array([3, 0])) for row in batch["row"]]
    assert [row.as_py() for row in chosen] == [0, 3]
    in_memory = columns_of(lines)
    assert in_memory.scores() == table.scores()
    assert in_memory.reasons == table.reasons


def _scored(row: int, fihs: float) -> dict[str, Any]:
    example = TokenizedExample(row, (1, 2), (False, True), False)
    return scored_line(example, ExampleScore(row, fihs, 1.0, (fihs,)), None)
