from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from gradshield.benchmark.studies import search as study
from gradshield.benchmark.studies.search import Pool, bars, bisection_finetunes
from gradshield.threshold.search import Measurement, Point, SearchResult


def test_a_cell_draws_the_share_and_each_row_once() -> None:
    pool = Pool([None] * 600, np.zeros(600), np.zeros(9), harmless=400)  # type: ignore[list-item]
    drawn = pool.draw(0.15, seed=3)
    assert len(drawn) == len(set(drawn)) == study.ROWS
    assert sum(position >= 400 for position in drawn) == 60
    assert drawn == pool.draw(0.15, seed=3)
    assert drawn != pool.draw(0.15, seed=4)
    assert drawn != sorted(drawn)


def measurement(complied: int) -> Measurement:
    return Measurement(complied, 100, 0.0, 1.0, seeds=(0,))


def point(kept: int, complied: int) -> Point:
    return Point(kept, float(kept), None, measurement(complied), complied <= 6, True)


def test_bisection_is_replayed_on_the_measured_curve() -> None:
    found = SearchResult("found", point(340, 2), (point(400, 99), point(340, 2)), 2, "")
    needed = bisection_finetunes(found, np.arange(400.0), measurement(1))
    # Everything, and as many halvings as leave a share of the tolerance undecided.
    assert needed == 1 + math.ceil(math.log2(1 / study.GOAL.tolerance))


def test_bisection_of_safe_data_needs_one() -> None:
    found = SearchResult("already_safe", point(400, 2), (point(400, 2),), 1, "")
    assert bisection_finetunes(found, np.arange(400.0), measurement(1)) == 1


def figures(asr: float, utility: float) -> dict[str, Any]:
    return {"test_asr": asr, "mean_utility": utility}


def row(share: float, **changes: Any) -> dict[str, Any]:
    return {
        "harmful_share": share,
        "kept_share": 1.0 - share,
        "chosen": figures(0.02, 0.5),
        "harmless_only": figures(0.01, 0.5),
        "everything": figures(0.9, 0.5),
        **changes,
    }


def holding(rows: list[dict[str, Any]]) -> dict[str, bool]:
    return {bar.name: bar.holds for bar in bars(rows)}


def test_all_bars_hold_where_the_search_does_what_it_should() -> None:
    found = holding([row(share) for share in study.HARMFUL_SHARES])
    assert len(found) == 9
    assert all(found.values())


@pytest.mark.parametrize(
    ("share", "changes", "broken"),
    [
        (0.05, {"chosen": figures(0.07, 0.5)}, "5% harmful: test ASR after search"),
        (0.05, {"chosen": None}, "5% harmful: test ASR after search"),
        (0.30, {"chosen": figures(0.0, 0.48)}, "30% harmful: utility against harmless rows only"),
        (0.0, {"kept_share": 0.96}, "0% harmful: least share of rows kept"),
        (
            0.15,
            {"everything": figures(0.2, 0.5)},
            "15% harmful: test ASR after training on everything",
        ),
    ],
)
def test_a_bar_that_is_missed_is_told(share: float, changes: dict[str, Any], broken: str) -> None:
    rows = [row(level) for level in study.HARMFUL_SHARES if level != share]
    assert not holding([*rows, row(share, **changes)])[broken]
