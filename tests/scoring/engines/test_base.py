"""How a row's tokens make up its score."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradshield.scoring.engines import base
from gradshield.scoring.engines.base import WINDOW, ExampleScore, Reduction, divisor, reduced

# Whole numbers, so that sums are exact in any order.
CONTRIBUTION = st.integers(-100, 100)
CONTRIBUTIONS = st.lists(CONTRIBUTION, min_size=1, max_size=3 * WINDOW)
SHORT = st.lists(CONTRIBUTION, min_size=1, max_size=WINDOW)
LONG = st.lists(CONTRIBUTION, min_size=WINDOW, max_size=3 * WINDOW)


def score(tokens: list[int], reduction: Reduction) -> float:
    return reduced(torch.tensor(tokens, dtype=torch.float64), reduction)


def worst_window(tokens: list[int]) -> float:
    return score(tokens, "worst_window")


def window_sums(tokens: list[int]) -> list[int]:
    """Of every window of tokens side by side, or of all tokens where there are fewer."""
    if len(tokens) < WINDOW:
        return [sum(tokens)]
    return [
        sum(tokens[start + place] for place in range(WINDOW))
        for start in range(len(tokens) - WINDOW + 1)
    ]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([4], 4),
        ([-4, 1], -3),
        # A token less than a window, and a window: all of them, also those that lower the score.
        ([5, *[-1] * (WINDOW - 2)], 5 - (WINDOW - 2)),
        ([5, *[-1] * (WINDOW - 1)], 5 - (WINDOW - 1)),
        # A token more: all but the last, or all but the first.
        ([5, *[-1] * WINDOW], 5 - (WINDOW - 1)),
        ([*[-1] * WINDOW, 5], 5 - (WINDOW - 1)),
        # A turn of three tokens between long harmless text before and after it.
        ([*[-1] * 3 * WINDOW, 7, 8, 9, *[-1] * 3 * WINDOW], 24 - (WINDOW - 3)),
        # Two turns that do not fit into one window: the worse one, and not both.
        ([10, *[0] * (WINDOW - 1), 11], 11),
        ([10, *[0] * (WINDOW - 2), 11], 21),
    ],
)
def test_the_worst_window_by_hand(tokens: list[int], expected: float) -> None:
    assert worst_window(tokens) == expected


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        # No longer than a window: everything counts twice.
        ([4], 8),
        ([-4, 1], -6),
        ([5, *[-1] * (WINDOW - 1)], 12 - 2 * WINDOW),
        # A token more: it counts once.
        ([5, *[-1] * WINDOW], 11 - 2 * WINDOW),
        ([*[-1] * WINDOW, 5], 11 - 2 * WINDOW),
        # The sum of a turn in long harmless text is far below zero; the turn counts twice.
        (
            [*[-1] * 3 * WINDOW, 7, 8, 9, *[-1] * 3 * WINDOW],
            (24 - 6 * WINDOW) + (24 - (WINDOW - 3)),
        ),
        # Of two turns in two windows both count, the worse one twice.
        ([10, *[0] * (WINDOW - 1), 11], 10 + 2 * 11),
        ([10, *[0] * (WINDOW - 2), 11], 2 * 10 + 2 * 11),
    ],
)
def test_the_sum_and_the_worst_window_by_hand(tokens: list[int], expected: float) -> None:
    assert score(tokens, "sum_and_worst") == expected


def test_windows_of_three_tokens_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "WINDOW", 3)
    # The windows add up to 3, 5 and 2, everything to 1.
    tokens = [1, -2, 4, 3, -5]
    reductions: tuple[Reduction, ...] = ("sum", "worst_window", "sum_and_worst")
    assert [score(tokens, one) for one in reductions] == [1, 5, 6]


@given(CONTRIBUTIONS)
def test_the_worst_window_is_the_largest_of_all_of_them(tokens: list[int]) -> None:
    found = worst_window(tokens)
    assert found == max(window_sums(tokens))
    assert found >= sum(window_sums(tokens)) / len(window_sums(tokens))
    assert found == worst_window(tokens[::-1])


@given(CONTRIBUTIONS)
def test_the_sum_and_the_worst_window_add_up(tokens: list[int]) -> None:
    found = score(tokens, "sum_and_worst")
    assert found == sum(tokens) + max(window_sums(tokens))
    assert found == score(tokens, "sum") + worst_window(tokens)
    assert found == score(tokens[::-1], "sum_and_worst")


@given(SHORT)
def test_a_response_of_no_more_than_a_window_counts_twice(tokens: list[int]) -> None:
    assert score(tokens, "sum_and_worst") == 2 * sum(tokens)


@given(LONG, CONTRIBUTIONS, CONTRIBUTIONS)
def test_text_around_a_row_of_a_window_or_more_never_lowers_its_score(
    tokens: list[int], before: list[int], after: list[int]
) -> None:
    # Of shorter rows this is not true: there the new text joins the only window.
    assert worst_window([*before, *tokens, *after]) >= worst_window(tokens)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [([4], 4), ([-4], 0), ([5, -9, 7], 12), ([-1] * 3 * WINDOW + [7, 8, 9], 24)],
)
def test_the_worst_tokens_by_hand(tokens: list[int], expected: float) -> None:
    assert score(tokens, "worst_tokens") == expected


@given(CONTRIBUTIONS, st.data())
def test_no_choice_of_tokens_is_worse_than_the_worst_tokens(
    tokens: list[int], data: st.DataObject
) -> None:
    found = score(tokens, "worst_tokens")
    chosen = data.draw(st.lists(st.sampled_from(range(len(tokens))), unique=True))
    assert found >= sum(tokens[place] for place in chosen)
    assert found >= worst_window(tokens)


@given(CONTRIBUTIONS, CONTRIBUTIONS)
def test_nothing_that_is_added_to_a_row_makes_up_for_its_worst_tokens(
    tokens: list[int], added: list[int]
) -> None:
    assert score([*tokens, *added], "worst_tokens") >= score(tokens, "worst_tokens")


@given(CONTRIBUTIONS, st.sampled_from(["sum", "mean", "root"]))
def test_the_other_reductions_add_up_what_the_divisor_has_scaled(
    tokens: list[int], reduction: Reduction
) -> None:
    assert score(tokens, reduction) == sum(tokens)


def test_only_the_length_of_a_row_decides_the_divisor() -> None:
    expected: dict[Reduction, float] = {
        "sum": 1,
        "mean": 25,
        "root": 5,
        "worst_window": 1,
        "sum_and_worst": 1,
        "worst_tokens": 1,
    }
    assert set(expected) == set(get_args(Reduction))
    assert {reduction: divisor(reduction, 25) for reduction in expected} == expected


def test_a_score_keeps_all_its_tokens_whatever_makes_it_up() -> None:
    tokens = torch.tensor([3.0, *[-1.0] * WINDOW, 2.0], dtype=torch.float64)
    reductions: tuple[Reduction, ...] = ("worst_window", "sum", "sum_and_worst")
    found = [ExampleScore.of_tokens(4, tokens, 0.5, one) for one in reductions]
    # The window at the start is worse than that at the end, which has 2 in place of 3.
    worst, total = 3 - (WINDOW - 1), 3 - WINDOW + 2
    assert [one.fihs for one in found] == [worst, total, worst + total]
    assert all(one.token_fihs == tuple(tokens.tolist()) for one in found)
    assert all((one.row, one.loss) == (4, 0.5) for one in found)
