"""How a row's tokens make up its score."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradshield.scoring.engines.base import ExampleScore, Reduction, divisor, reduced

# Whole numbers, so that sums are exact in any order.
CONTRIBUTIONS = st.lists(st.integers(-100, 100), min_size=1, max_size=35)
LONG = st.lists(st.integers(-100, 100), min_size=10, max_size=35)


def worst_window(tokens: list[int]) -> float:
    return reduced(torch.tensor(tokens, dtype=torch.float64), "worst_window")


def window_sums(tokens: list[int]) -> list[int]:
    """Of every ten tokens side by side, or of all where there are fewer."""
    if len(tokens) < 10:
        return [sum(tokens)]
    return [
        sum(tokens[start + place] for place in range(10)) for start in range(len(tokens) - 10 + 1)
    ]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([4], 4),
        ([-4, 1], -3),
        # Nine and ten tokens: all of them, also those that lower the score.
        ([5, *[-1] * 8], -3),
        ([5, *[-1] * 9], -4),
        # Eleven: the first ten or the last ten.
        ([5, *[-1] * 10], -4),
        ([*[-1] * 10, 5], -4),
        # A turn of three tokens between long harmless text before and after it.
        ([*[-1] * 30, 7, 8, 9, *[-1] * 30], 24 - 7),
        # Two turns that do not fit into one window: the worse one, and not both.
        ([10, *[0] * 9, 11], 11),
        ([10, *[0] * 8, 11], 21),
    ],
)
def test_the_worst_window_by_hand(tokens: list[int], expected: float) -> None:
    assert worst_window(tokens) == expected


@given(CONTRIBUTIONS)
def test_the_worst_window_is_the_largest_of_all_of_them(tokens: list[int]) -> None:
    found = worst_window(tokens)
    assert found == max(window_sums(tokens))
    assert found >= sum(window_sums(tokens)) / len(window_sums(tokens))
    assert found == worst_window(tokens[::-1])


@given(LONG, CONTRIBUTIONS, CONTRIBUTIONS)
def test_text_around_a_row_of_a_window_or_more_never_lowers_its_score(
    tokens: list[int], before: list[int], after: list[int]
) -> None:
    # Of shorter rows this is not true: there the new text joins the only window.
    assert worst_window([*before, *tokens, *after]) >= worst_window(tokens)


@given(CONTRIBUTIONS, st.sampled_from(["sum", "mean", "root"]))
def test_the_other_reductions_add_up_what_the_divisor_has_scaled(
    tokens: list[int], reduction: Reduction
) -> None:
    assert reduced(torch.tensor(tokens, dtype=torch.float64), reduction) == sum(tokens)


def test_only_the_length_of_a_row_decides_the_divisor() -> None:
    expected: dict[Reduction, float] = {"sum": 1, "mean": 25, "root": 5, "worst_window": 1}
    assert {reduction: divisor(reduction, 25) for reduction in expected} == expected


def test_a_score_keeps_all_its_tokens_whatever_makes_it_up() -> None:
    tokens = torch.tensor([3.0, *[-1.0] * 10, 2.0], dtype=torch.float64)
    window = ExampleScore.of_tokens(4, tokens, 0.5, "worst_window")
    whole = ExampleScore.of_tokens(4, tokens, 0.5, "sum")
    # 3 - 9, or the same from the other end 2 - 9; and 3 - 10 + 2.
    assert (window.fihs, whole.fihs) == (-6, -5)
    assert window.token_fihs == whole.token_fihs == tuple(tokens.tolist())
    assert (window.row, window.loss) == (4, 0.5)
