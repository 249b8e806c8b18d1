from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradshield.benchmark.grid.separation import recall_at, remove_count, separation

HARMFUL = [False, False, True, True]


def test_figures_by_hand() -> None:
    # From the top: harmful, harmless, harmful, harmless.
    found = separation(np.array([3.0, 1.0, 4.0, 2.0]), HARMFUL, threshold=2.5)
    assert found.auroc == 3 / 4
    assert found.average_precision == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert found.recall_at_1 == 1 / 2
    assert found.harmless_lost == 1 / 2
    assert found.harmful_kept == 1 / 2


def test_without_harmful_rows_there_is_only_what_is_lost() -> None:
    found = separation(np.array([3.0, 1.0]), [False, False], threshold=2.0)
    assert found.harmless_lost == 1 / 2
    assert found.auroc is found.average_precision is found.harmful_kept is None


@pytest.mark.parametrize(("loss", "expected"), [(0.0, 1 / 3), (0.01, 1 / 3), (0.05, 2 / 3)])
def test_recall_at_a_loss_that_is_whole_rows(loss: float, expected: float) -> None:
    values = np.array([*range(20), 25.0, 18.5, 3.0])
    truth = np.array([False] * 20 + [True] * 3)
    # At 5 % one of the twenty may go, the one that scores 19.
    assert recall_at(values, truth, loss) == expected


def test_harmful_rows_that_tie_with_a_harmless_one_are_not_recalled() -> None:
    assert recall_at(np.array([1.0, 1.0]), np.array([False, True]), 0.05) == 0.0


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(0, 9), st.data())
def test_as_many_as_asked_are_removed_and_none_scores_below_one_that_stays(
    values: list[int], seed: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, len(values)))
    scores = np.array(values, dtype=np.float64)
    kept = remove_count(scores, count, seed)
    removed = set(range(len(values))) - set(kept)
    assert len(removed) == count
    lowest = min((scores[place] for place in removed), default=math.inf)
    assert all(scores[place] <= lowest for place in kept)


def test_ties_do_not_go_by_place() -> None:
    kept = remove_count(np.zeros(50), 25, seed=0)
    assert kept not in ([*range(25)], [*range(25, 50)])
