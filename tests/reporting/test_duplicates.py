"""Near-duplicates against all pairs, and by hand."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from gradshield.reporting import duplicates
from gradshield.reporting.shingles import Lists


def near_duplicates(responses: Mapping[int, Sequence[int]], blocks: int = 1) -> dict[int, int]:
    """Group of each row that is in one; the rows come in so many blocks."""
    filled = [row for row in sorted(responses) if responses[row]]
    parts = [
        Lists(
            np.array(rows, dtype=np.int64),
            np.array([len(responses[row]) for row in rows], dtype=np.int64),
            np.array([token for row in rows for token in responses[row]], dtype=np.uint64),
        )
        for rows in np.array_split(filled, blocks)
    ]
    found = duplicates.near_duplicates(lambda: parts, max(responses, default=-1) + 1)
    return {row: group for row, group in enumerate(found.tolist()) if group >= 0}


def test_groups_are_numbered_by_their_first_row() -> None:
    first, second = list(range(10, 40)), list(range(100, 140))
    responses = {0: second, 1: first, 2: [1, 2], 3: first, 4: [*second, 7], 5: []}
    for blocks in (1, 2, 6):
        assert near_duplicates(responses, blocks) == {0: 0, 4: 0, 1: 1, 3: 1}


def test_short_responses_must_be_equal() -> None:
    assert near_duplicates({0: [5], 1: [5], 2: [5, 6], 3: [6, 5], 4: [6]}) == {0: 0, 1: 0}


def test_order_of_tokens_matters() -> None:
    tokens = list(range(50))
    assert near_duplicates({0: tokens, 1: tokens[::-1]}) == {}


def test_nothing_is_a_duplicate_of_nothing() -> None:
    assert near_duplicates({}) == {}
    assert near_duplicates({0: [], 1: []}) == {}


def test_copies_with_changes_are_found_among_many() -> None:
    chance = random.Random(0)
    responses = {
        row: [chance.randrange(5000) for _ in range(chance.randint(30, 90))] for row in range(400)
    }
    copies = {}
    for row in range(0, 100, 5):
        changed = list(responses[row])
        changed[chance.randrange(len(changed))] = 9999
        copies[400 + row] = changed
    found = near_duplicates({**responses, **copies})
    # One changed token of 30 or more breaks three shingles of 28 or more: a likeness of 0.8.
    for row in copies:
        assert found[row] == found[row - 400]
    assert len(found) == 2 * len(copies)


def test_every_group_holds_pairs_that_are_alike() -> None:
    chance = random.Random(1)
    responses = {row: [chance.randrange(4) for _ in range(12)] for row in range(120)}

    def shingles(row: int) -> set[tuple[int, ...]]:
        return {tuple(responses[row][at : at + 3]) for at in range(10)}

    found = near_duplicates(responses)
    for row, group in found.items():
        likeness = [
            len(shingles(row) & shingles(other)) / len(shingles(row) | shingles(other))
            for other in found
            if other != row and found[other] == group
        ]
        assert max(likeness) >= 0.7


def _likeness(first: Sequence[int], second: Sequence[int]) -> float:
    sets = [
        {tuple(tokens[at : at + 3]) for at in range(max(len(tokens) - 2, 1))}
        for tokens in (first, second)
    ]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_it_agrees_with_all_pairs_of_short_responses() -> None:
    """Alike are short responses only if they are equal or nearly all of a few shingles are."""
    chance = random.Random(2)
    responses = {
        row: [chance.randrange(3) for _ in range(chance.randint(1, 4))] for row in range(90)
    }
    found = near_duplicates(responses, blocks=4)
    for row, tokens in responses.items():
        twins = {other for other in responses if _likeness(tokens, responses[other]) == 1.0}
        assert all(found.get(other) == found.get(row) for other in twins)
        assert len(twins) == 1 or row in found


@pytest.mark.parametrize("most", [1, 60, 1 << 24])
def test_memory_for_comparisons_does_not_change_the_groups(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    chance = random.Random(3)
    texts = [[chance.randrange(50) for _ in range(30)] for _ in range(40)]
    changed = [[*tokens[:-1], 99] for tokens in texts for _ in range(3)]
    responses = dict(enumerate(texts + changed))
    monkeypatch.setattr(duplicates, "MOST_SHINGLES", most)
    found = near_duplicates(responses, blocks=5)
    assert found == {row: (row if row < 40 else (row - 40) // 3) for row in responses}
