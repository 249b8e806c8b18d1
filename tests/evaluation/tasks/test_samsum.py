from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradshield.evaluation.tasks import TASKS, TaskItem
from gradshield.evaluation.tasks.samsum import common_subsequence, rouge_l, score_answer
from tests.evaluation.tasks.public_folder import write_json


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        # Lin 2004, section 3.1: LCS 3 and 2 of 4 words against 4 words.
        ("police kill the gunman", 3 / 4),
        ("police killed the gunman", 1.0),
        ("the gunman kill police", 2 / 4),
        ("the gunman police killed", 2 / 4),
        # LCS 2 of 3 words: P = 2/3, R = 2/4, F = 2 * (1/3) / (7/6) = 4/7.
        ("Police: KILLED him", 4 / 7),
        ("nothing alike", 0.0),
        ("", 0.0),
        ("...", 0.0),
    ],
)
def test_rouge_l_by_hand(candidate: str, expected: float) -> None:
    assert rouge_l(candidate, "police killed the gunman") == pytest.approx(expected)


def test_rouge_l_of_two_empty_texts_is_zero() -> None:
    assert rouge_l("", "!") == 0


WORDS = st.lists(st.sampled_from("abc"), max_size=6)


@given(WORDS, WORDS)
def test_common_subsequence_is_the_longest_of_all(first: list[str], second: list[str]) -> None:
    def subsequences(words: list[str]) -> set[tuple[str, ...]]:
        return {chosen for size in range(len(words) + 1) for chosen in combinations(words, size)}

    longest = max(map(len, subsequences(first) & subsequences(second)))
    assert common_subsequence(first, second) == longest


def test_the_last_200_rows_of_the_public_file_are_the_test(tmp_path: Path) -> None:
    rows = [
        {"instruction": "Summarise:", "input": f"A: {place}\r\nB: ok", "output": f"{place}. "}
        for place in range(205)
    ]
    write_json(tmp_path / "samsum/samsum_train.json", rows)
    items = TASKS["samsum"].items(tmp_path)
    assert len(items) == 200
    assert items[0] == TaskItem("5", "Summarise:\n\nA: 5\r\nB: ok", "5.")


def test_an_answer_is_scored_against_its_reference() -> None:
    scored = score_answer(TaskItem("0", "?", "Amanda baked cookies."), "amanda cookies")
    assert scored.score == pytest.approx(0.8)  # P = 1, R = 2/3
    assert scored.prediction == "amanda cookies"
