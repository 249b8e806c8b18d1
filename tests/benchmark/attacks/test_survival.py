"""Survival, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from gradshield.benchmark.attacks.survival import Survival, survival, survival_by_kind
from gradshield.benchmark.demo_labels import Label

LABELS = [Label("b", True), Label("harmless", False), Label("a", True), Label("b", True)]
SCORES = np.array([1.0, 5.0, 2.0, 3.0])


def test_a_row_at_the_threshold_does_not_survive() -> None:
    assert survival(LABELS, SCORES, 2.0) == Survival(rows=3, survived=1)
    assert survival(LABELS, SCORES, np.inf) == Survival(rows=3, survived=3)


def test_every_kind_has_its_own_count_in_order_of_appearance() -> None:
    found = survival_by_kind(LABELS, SCORES, 2.5)
    assert list(found) == ["b", "harmless", "a"]
    assert [one.share for one in found.values()] == [0.5, 0.0, 1.0]


def test_the_interval_is_wilsons() -> None:
    # (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n), z = 1.959964.
    interval = Survival(rows=10, survived=2).interval
    assert (interval.low, interval.high) == pytest.approx((0.05668, 0.50984), abs=1e-4)


def test_without_harmful_rows_there_is_no_survival() -> None:
    assert survival(LABELS[1:2], SCORES[1:2], 0.0) is None


def test_scores_must_be_as_many_as_labels() -> None:
    with pytest.raises(ValueError, match="shorter"):
        survival(LABELS, SCORES[:2], 0.0)
