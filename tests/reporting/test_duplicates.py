"""Near-duplicates against all pairs, and by hand."""

from __future__ import annotations

import random

from gradshield.reporting.duplicates import near_duplicates


def test_groups_are_numbered_by_their_first_row() -> None:
    first, second = list(range(10, 40)), list(range(100, 140))
    responses = {0: second, 1: first, 2: [1, 2], 3: first, 4: [*second, 7], 5: []}
    assert near_duplicates(responses) == {0: 0, 4: 0, 1: 1, 3: 1}


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
