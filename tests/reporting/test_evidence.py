"""Evidence of a row, by hand and by counting."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gradshield.reporting.evidence import (
    NEIGHBOURS,
    SHOWN_DUPLICATES,
    gather_evidence,
    rejection_code,
)


def line(row: int, fihs: float | None, tokens: list[int] | None = None) -> dict[str, Any]:
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
        "token_ids": None if rejected else (tokens or [row, row + 1000, row + 2000]),
        "token_fihs": None,
    }


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
    lines[5] |= {"token_ids": [7, 8, 9, 10, 11]}
    lines[39] |= {"token_ids": [7, 8, 9, 10, 11]}
    found = gather_evidence(lines, 0.3)
    assert found[39].findings == ("high_fihs", "divided_duplicates")
    assert found[5].findings == ("divided_duplicates",)
    assert found[3].findings == ("truncated",)
    assert found[40].findings == ("rejected", "empty_response")
    assert [row for row, e in found.items() if "borderline" in e.findings] == list(range(20, 30))
    assert found[5].duplicates == (39,)
    assert found[5].group == found[39].group == 0


def test_a_large_group_does_not_list_itself_in_every_row() -> None:
    found = gather_evidence([line(row, 0.0, [1, 2, 3]) for row in range(100)], 1.0)
    assert found[0].duplicates == tuple(range(1, SHOWN_DUPLICATES + 1))
    assert 50 not in found[50].duplicates
    assert {e.group for e in found.values()} == {0}


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
        evidence = found[row]
        assert evidence.rank == 1 + sum(other > fihs for other in known.values())
        at_or_below = sum(other <= fihs for other in known.values())
        assert evidence.percentile == 100 * at_or_below / len(known)
        for state, nearest in (
            ("kept", evidence.nearest_kept),
            ("removed", evidence.nearest_removed),
        ):
            distances = sorted(
                abs(other - fihs)
                for place, other in known.items()
                if place != row and found[place].state == state
            )
            assert [abs(known[place] - fihs) for place in nearest] == distances[:NEIGHBOURS]
