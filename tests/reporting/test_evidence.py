"""Evidence of a row, by hand and by counting."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gradshield.reporting.evidence import Evidence, RowEvidence, rejection_code
from gradshield.reporting.nearest import NEIGHBOURS
from gradshield.scoring.table import columns_of


def line(row: int, fihs: float | None) -> dict[str, Any]:
    rejected = fihs is None
    return {
        "row": row,
        "id": f"id-{row}",
        "fihs": fihs,
        "loss": None if rejected else 1.0,
        "response_tokens": None if rejected else 3,
        "truncated": None if rejected else False,
        "status": "rejected" if rejected else "scored",
        "reason": "empty_response: nothing" if rejected else None,
        "chosen_tokens": None,
    }


def evidence(
    lines: list[dict[str, Any]], threshold: float, groups: Mapping[int, int] | None = None
) -> Evidence:
    numbers = [(groups or {}).get(row, -1) for row in range(len(lines))]
    return Evidence(columns_of(lines), np.array(numbers, dtype=np.int64), threshold)


def gather_evidence(*given: Any) -> dict[int, RowEvidence]:
    found = evidence(*given)
    return {row.row: row for row in found.of(np.arange(len(found)))}


SCORES = (-1.0, 0.5, None, 0.4, 2.0, -0.2)
LINES = [line(row, fihs) for row, fihs in enumerate(SCORES)]


def test_place_among_all_scores() -> None:
    found = gather_evidence(LINES, 0.5)
    assert {row: e.rank for row, e in found.items()} == {0: 5, 1: 2, 2: None, 3: 3, 4: 1, 5: 4}
    assert {row: e.percentile for row, e in found.items()} == {
        0: 20.0,
        1: 80.0,
        2: None,
        3: 60.0,
        4: 100.0,
        5: 40.0,
    }
    assert found[4].distance == 1.5
    assert found[0].distance == -1.5
    assert found[2].distance is None


def test_states_and_neighbours() -> None:
    found = gather_evidence(LINES, 0.5)
    assert [found[row].state for row in found] == [
        "kept",
        "removed",
        "rejected",
        "kept",
        "removed",
        "kept",
    ]
    assert found[1].nearest_kept == (3, 5, 0)
    assert found[1].nearest_removed == (4,)
    assert found[3].nearest_kept == (5, 0)
    assert found[2].nearest_kept == found[2].nearest_removed == ()


def test_without_a_threshold_nothing_is_removed_or_borderline() -> None:
    found = gather_evidence(LINES, math.inf)
    assert {e.state for e in found.values()} == {"kept", "rejected"}
    assert all(e.distance is None and "borderline" not in e.findings for e in found.values())


def test_findings() -> None:
    lines = [line(row, row / 100) for row in range(40)] + [line(40, None)]
    lines[3] |= {"truncated": True}
    found = gather_evidence(lines, 0.3, {5: 0, 39: 0, 6: 1, 7: 1})
    assert found[39].findings == ("high_fihs", "divided_duplicates")
    assert found[5].findings == ("divided_duplicates",)
    assert found[3].findings == ("truncated",)
    assert found[40].findings == ("rejected", "empty_response")
    assert [row for row, e in found.items() if "borderline" in e.findings] == list(range(20, 30))
    assert found[5].group == found[39].group == 0
    assert found[6].findings == ()
    assert found[8].group is None


def test_the_rows_of_a_group() -> None:
    found = evidence([line(row, 0.0) for row in range(5)], 1.0, {1: 0, 4: 0, 2: 1, 3: 1})
    assert found.group_of(4).tolist() == [1, 4]
    assert found.group_of(0).size == 0


def test_rows_in_the_order_they_are_asked_for() -> None:
    found = evidence(LINES, 0.5)
    assert [row.row for row in found.of(np.array([4, 2, 0]))] == [4, 2, 0]


def test_code_of_a_rejection() -> None:
    assert rejection_code("empty_response: turn 2 has no text") == "empty_response"
    assert rejection_code(None) == "unknown"


scores = st.lists(
    st.none() | st.floats(-5, 5).map(lambda score: round(score, 1)), min_size=1, max_size=30
)


@given(scores, st.floats(-5, 5).map(lambda score: round(score, 1)))
def test_it_agrees_with_counting(values: list[float | None], threshold: float) -> None:
    lines = [line(row, fihs) for row, fihs in enumerate(values)]
    found = gather_evidence(lines, threshold)
    known = {row: fihs for row, fihs in enumerate(values) if fihs is not None}
    for row, fihs in known.items():
        own = found[row]
        assert own.rank == 1 + sum(other > fihs for other in known.values())
        at_or_below = sum(other <= fihs for other in known.values())
        assert own.percentile == 100 * at_or_below / len(known)
        for state, nearest in (
            ("kept", own.nearest_kept),
            ("removed", own.nearest_removed),
        ):
            distances = sorted(
                abs(other - fihs)
                for place, other in known.items()
                if place != row and found[place].state == state
            )
            assert [abs(known[place] - fihs) for place in nearest] == distances[:NEIGHBOURS]
