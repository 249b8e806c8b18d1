"""Parts: how rows are cut, what a part says of itself, and rows that fail alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradshield.data import Rejection, TokenizedExample
from gradshield.data.survey import RowsRead
from gradshield.errors import UserError
from gradshield.scoring.engines import ExampleScore
from gradshield.scoring.parts import (
    MOST_PARTS,
    ROWS_PER_PART,
    account_of,
    cut_into_parts,
    read_part,
    score_part,
    scored_apart,
)
from gradshield.scoring.shards import Shard, parse_shard
from gradshield.scoring.table import read_table, rejected_line, scored_line, write_part
from tests.tiny_models import mixed_examples


@given(total=st.integers(1, 4_000_000), count=st.integers(1, 300))
@settings(max_examples=25)
def test_parts_and_shards_cover_each_row_once(total: int, count: int) -> None:
    parts = cut_into_parts(total, Path("scores"), "run")
    assert len(parts) <= MOST_PARTS
    shared = [part for index in range(count) for part in Shard(index, count).of(parts)]
    assert shared == parts
    sizes = [len(Shard(index, count).of(parts)) for index in range(count)]
    assert max(sizes) - min(sizes) <= 1
    end = 0
    for part in parts:
        assert part.rows.start == end
        assert part.rows.start % ROWS_PER_PART == 0
        assert len(part.rows) > 0
        end = part.rows.stop
    assert end == total
    assert len({part.path for part in parts}) == len(parts)
    assert [part.path for part in parts] == sorted(part.path for part in parts)


def test_a_small_run_has_small_parts_and_a_large_one_few() -> None:
    assert [len(part.rows) for part in cut_into_parts(300, Path("s"), "r")] == [128, 128, 44]
    large = cut_into_parts(10**9, Path("s"), "r")
    assert 9_000 < len(large) <= MOST_PARTS
    assert {len(part.rows) for part in large[:-1]} == {100_096}  # 782 times 128


def test_a_shard_in_words() -> None:
    assert parse_shard(" 7/8 ") == Shard(7, 8)
    assert str(Shard(7, 8)) == "7/8"
    assert parse_shard("0/1").is_whole


def scorer(poisoned: Sequence[int], calls: list[list[int]] | None = None) -> Any:
    """Scores a row by its number; fails where a poisoned row is among those it is given."""

    def score(examples: Sequence[TokenizedExample], ids: Any, advance: Any) -> list[Any]:
        rows = [example.row for example in examples]
        if calls is not None:
            calls.append(rows)
        bad = [row for row in rows if row in poisoned]
        if bad:
            raise IndexError(f"row {bad[0]} is out of range\nand more")
        advance(len(rows))
        return [
            scored_line(e, ExampleScore(e.row, float(e.row), 1.0), ids.get(e.row)) for e in examples
        ]

    return score


@pytest.mark.parametrize("poisoned", [[], [3], [0, 6], [1, 2, 4]])
def test_poisoned_rows_fail_alone(poisoned: list[int]) -> None:
    done: list[int] = []
    lines = scored_apart(scorer(poisoned), mixed_examples(), {3: "mine"}, done.append)
    found = {line["row"]: line for line in lines}
    assert sorted(found) == list(range(7))
    assert sum(done) == 7
    for row, line in found.items():
        if row in poisoned:
            assert line["status"] == "rejected"
            assert line["reason"] == f"scoring_failed: IndexError: row {row} is out of range"
        else:
            assert line["fihs"] == float(row)
    assert found[3]["id"] == "mine"


def test_rows_that_can_be_scored_are_scored_in_one_go() -> None:
    calls: list[list[int]] = []
    lines = scored_apart(scorer([], calls), mixed_examples(), {3: "mine"}, lambda count: None)
    assert calls == [list(range(7))]
    assert lines[3]["id"] == "mine"


def test_rows_that_all_fail_are_not_at_fault() -> None:
    with pytest.raises(UserError) as raised:
        scored_apart(scorer(range(7)), mixed_examples(), {}, lambda count: None)
    assert str(raised.value) == (
        "None of the rows 0 to 6 can be scored (IndexError: row 0 is out of range): the model, its "
        "tokenizer or the device is at fault. Run `gradshield check`."
    )


def test_a_single_row_that_fails_is_rejected() -> None:
    def score(*_: Any) -> list[Any]:
        raise ZeroDivisionError

    lines = scored_apart(score, mixed_examples()[4:5], {4: "mine"}, lambda count: None)
    assert [(line["row"], line["id"], line["reason"]) for line in lines] == [
        (4, "mine", "scoring_failed: ZeroDivisionError")
    ]


def test_progress_counts_each_row_once_where_scoring_fails_in_the_middle() -> None:
    calls = 0

    def score(examples: Sequence[TokenizedExample], ids: Any, advance: Any) -> list[Any]:
        nonlocal calls
        calls += 1
        if calls == 1:
            advance(2)
            advance(1)
            raise RuntimeError("after three rows")
        return list(scorer([])(examples, ids, advance))

    done: list[int] = []
    assert len(scored_apart(score, mixed_examples(), {}, done.append)) == 7
    assert done == [2, 1, 4]


def test_what_the_user_has_to_mend_stops_the_run() -> None:
    calls = 0

    def score(*_: Any) -> list[Any]:
        nonlocal calls
        calls += 1
        raise UserError("out of memory")

    with pytest.raises(UserError, match="out of memory"):
        scored_apart(score, mixed_examples(), {}, lambda count: None)
    assert calls == 1


def test_a_part_says_what_it_holds(tmp_path: Path) -> None:
    part = cut_into_parts(7, tmp_path, "fingerprint")[0]
    examples = list(mixed_examples())
    examples[0] = replace(examples[0], truncated=True, left_out=("image part", "audio part"))
    read = RowsRead(
        tuple(e for e in examples if e.row != 5),
        {5: Rejection("empty_response", "nothing \ud83d in it")},
        {row: f"own {row}" for row in range(7)},
        {row: {"line": row + 2, "file": "a.jsonl"} for row in range(7)},
    )
    done: list[int] = []
    assert not part.is_done
    score_part(part, read, scorer([2]), done.append)
    assert part.is_done
    assert sum(done) == 7
    stored = read_part(part.path)
    assert stored is not None
    assert (stored.rows, stored.total, stored.run) == (range(7), 7, "fingerprint")
    assert stored.places == {row: {"line": row + 2, "file": "a.jsonl"} for row in (2, 5)}
    assert [line["row"] for line in list(read_table(tmp_path).lines())] == list(range(7))
    assert read_table(tmp_path).id.to_pylist() == [f"own {row}" for row in range(7)]
    account = account_of(tmp_path)
    assert (account.truncated, account.left_out) == (1, [["image part", "audio part"]])
    assert account.rejected == [
        {
            "row": 2,
            "line": 4,
            "file": "a.jsonl",
            "reason": "scoring_failed",
            "detail": "IndexError: row 2 is out of range",
        },
        {
            "row": 5,
            "line": 7,
            "file": "a.jsonl",
            "reason": "empty_response",
            "detail": "nothing \\ud83d in it",
        },
    ]


def test_a_part_further_on_says_so_and_that_nothing_was_left_out(tmp_path: Path) -> None:
    part = replace(cut_into_parts(7, tmp_path, "run")[0], rows=range(3, 5))
    examples = tuple(e for e in mixed_examples() if e.row in part.rows)
    read = RowsRead(examples, {}, dict.fromkeys(part.rows), {})
    score_part(part, read, scorer([]), lambda count: None)
    stored = read_part(part.path)
    assert stored is not None
    assert (stored.rows, stored.places, stored.left_out) == (range(3, 5), {}, [])
    assert account_of(tmp_path).rejected == []


def test_a_file_that_says_nothing_is_no_part_but_its_rows_count(tmp_path: Path) -> None:
    write_part([rejected_line(1, None, "empty_response: none")], tmp_path / "part-00000.parquet")
    assert read_part(tmp_path / "part-00000.parquet") is None
    assert account_of(tmp_path).rejected == [
        {"row": 1, "line": None, "reason": "empty_response", "detail": "none"}
    ]
