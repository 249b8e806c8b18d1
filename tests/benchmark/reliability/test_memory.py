"""The memory of a run does not grow with its rows beyond what a line of the table takes."""

from __future__ import annotations

import numpy as np
import pytest

from gradshield.benchmark.reliability.memory import MemoryReport, Stage, measure_memory
from gradshield.benchmark.reliability.stand_ins import (
    HARMFUL_SHIFT,
    harmless_lines,
    stand_in_lines,
    stand_in_tokenizer,
)
from gradshield.data import TokenizedExample

MOST = 2 * 10**9
"""Bytes of a run of a million rows."""


def test_a_million_rows_would_take_less_than_two_gigabytes() -> None:
    few, many = (measure_memory(rows, "jsonl", with_report=False) for rows in (20_000, 50_000))
    if few.peak_bytes is None or many.peak_bytes is None:
        pytest.skip("this system does not tell the peak of resident memory")
    assert list(many.stages) == ["imports", "read", "score", "threshold", "apply"]
    a_row = (many.peak_bytes - few.peak_bytes) / (many.rows - few.rows)
    assert many.peak_bytes + a_row * (10**6 - many.rows) < MOST


def test_the_peak_is_that_of_the_worst_stage() -> None:
    stages = {"imports": Stage(1.0, 5), "score": Stage(2.0, 9), "apply": Stage(1.0, 7)}
    assert MemoryReport(10, "jsonl", stages).peak_bytes == 9
    assert MemoryReport(10, "jsonl", {**stages, "read": Stage(1.0, None)}).peak_bytes is None


def test_a_stand_in_scores_a_row_alone_as_in_any_batch() -> None:
    tokenizer = stand_in_tokenizer()
    texts = [f"Seven times {number} is {number * 7}." for number in range(2_000)]
    rows = [
        TokenizedExample(row, tuple(ids), (False,) + (True,) * (len(ids) - 1), False)
        for row, ids in enumerate(tokenizer(texts)["input_ids"])
    ]
    assert tokenizer.decode(list(rows[7].input_ids)) == texts[7]
    lines = stand_in_lines(rows, {}, lambda count: None)
    assert stand_in_lines(rows[7:8], {}, lambda count: None) == lines[7:8]
    assert sum(lines[7]["token_fihs"]) == pytest.approx(lines[7]["fihs"])
    harmless = np.array([line["fihs"] for line in harmless_lines(rows)])
    assert abs(harmless.mean()) < 0.1
    assert abs(harmless.std() - 1) < 0.1
    moved = np.array([line["fihs"] for line in lines]) - harmless
    assert set(np.round(moved, 6)) == {0.0, HARMFUL_SHIFT}
    assert 0.01 < np.mean(moved > 0) < 0.03
