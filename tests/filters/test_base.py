from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradshield.filters.base import Scores, top_share


@given(st.lists(st.integers(0, 1000), min_size=1, unique=True), st.floats(0, 1))
def test_the_asked_share_is_at_or_above_the_threshold(values: list[int], share: float) -> None:
    scores = np.array(values, dtype=np.float64)
    assert (scores >= top_share(share)(scores)).sum() == round(share * len(values))


@pytest.mark.parametrize(("share", "removed"), [(0.0, 0), (0.25, 3), (1.0, 4)])
def test_equal_values_go_together(share: float, removed: int) -> None:
    scores = np.array([1.0, 2.0, 2.0, 2.0])
    assert (scores >= top_share(share)(scores)).sum() == removed


def test_some_rows_are_cut_by_the_same_rule() -> None:
    scores = Scores(np.array([5.0, 1.0, 4.0, 2.0, 3.0]), top_share(0.5))
    some = scores.of([0, 1])
    assert some.values.tolist() == [5.0, 1.0]
    assert (scores.threshold, some.threshold) == (4.0, 5.0)
