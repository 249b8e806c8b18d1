from __future__ import annotations

import numpy as np
import pytest

from gradshield.benchmark.threshold_study import (
    SHAPES,
    render_table,
    run_threshold_study,
    synthetic_scores,
)


@pytest.mark.parametrize("shape", SHAPES)
def test_draws_are_repeatable_and_have_the_asked_share(shape: str) -> None:
    scores, labels, reference = synthetic_scores(shape, 0.05, 240, 3)
    again, _, _ = synthetic_scores(shape, 0.05, 240, 3)
    assert scores.tolist() == again.tolist()
    assert labels.sum() == 12
    assert reference.shape == (300,)
    assert scores[labels].mean() > scores[~labels].mean()


def test_shares_are_counted_by_label_and_extra_data_is_one_more_row() -> None:
    # reference 0..98 and level 0.1: removed above 89, i.e. 2 of 4 harmless, 1 of 2 harmful
    extra = (
        "real",
        np.array([1.0, 2.0, 95.0, 96.0, 97.0, 3.0]),
        np.array([False, False, False, False, True, True]),
        np.arange(99.0),
    )
    rows = run_threshold_study(
        range(2),
        (40,),
        rules=["calibrated"],
        shapes=["gaussian"],
        shares=[0.0],
        level=0.1,
        extra=[extra],
    )
    assert [row["shape"] for row in rows] == ["gaussian", "real"]
    assert rows[0]["harmful_found"] is None
    assert rows[0]["draws"] == 2
    assert (rows[1]["harmless_lost"], rows[1]["harmful_found"]) == (0.5, 0.5)
    assert "50.0 / 50.0" in render_table(rows)


def test_rules_that_need_a_reference_are_left_out_without_one() -> None:
    data = ("real", np.arange(30.0), np.arange(30) > 24, None)
    rows = run_threshold_study(rules=["calibrated", "mixture"], shapes=[], extra=[data])
    assert [row["rule"] for row in rows] == ["mixture"]
