"""Shares, order and labels of mixed data sets."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradshield.benchmark.attacks import AttackRow, mixed
from gradshield.benchmark.attacks.mixing import HARMLESS
from gradshield.data import Conversation, Message


def exchange(text: str) -> Conversation:
    return Conversation((Message("user", text), Message("assistant", "Yes")))


PLAIN = [exchange(f"plain {k}") for k in range(60)]
ATTACK = [AttackRow(exchange(f"attack {k}"), f"group{k % 2}") for k in range(40)]


@given(st.floats(0, 0.6), st.integers(1, 60), st.integers(0, 5))
def test_the_share_is_met_to_the_row_and_every_label_is_true(
    share: float, rows: int, seed: int
) -> None:
    found = mixed(PLAIN, ATTACK, share, rows, seed)
    assert len({conversation for _, conversation in found}) == len(found) == rows
    assert sum(label.harmful for label, _ in found) == round(share * rows)
    groups = {row.conversation: row.group for row in ATTACK}
    for label, conversation in found:
        assert label.kind == groups.get(conversation, HARMLESS)
        assert label.harmful == (conversation in groups)


def test_the_order_is_mixed_and_depends_on_the_seed_alone() -> None:
    one, again, other = (mixed(PLAIN, ATTACK, 0.5, 60, seed) for seed in (0, 0, 1))
    assert one == again
    assert one != other
    first_half = Counter(label.harmful for label, _ in one[:30])
    assert 5 < first_half[True] < 25


def test_a_higher_share_keeps_the_attack_rows_of_a_lower_one() -> None:
    low, high = (set(mixed(PLAIN, ATTACK, share, 50, 3)) for share in (0.1, 0.5))
    assert {row for row in low if row[0].harmful} < high
    assert {row for row in high if not row[0].harmful} < low


def test_a_harmless_row_that_is_an_attack_row_too_has_one_label() -> None:
    both = [*PLAIN[:5], *(row.conversation for row in ATTACK)]
    found = mixed(both, ATTACK, 0.5, 10, 0)
    assert {one for label, one in found if not label.harmful} == set(PLAIN[:5])


@pytest.mark.parametrize(
    ("share", "rows", "message"),
    [
        (0.5, 100, "needs 50 attack rows, and there are 40"),
        (0.0, 61, "needs 61 harmless rows, and there are 60"),
        (1.1, 10, "between 0 and 1"),
        (-0.1, 10, "between 0 and 1"),
    ],
)
def test_too_few_rows_are_an_error(share: float, rows: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mixed(PLAIN, ATTACK, share, rows, 0)


def test_controls_are_not_drawn_together_with_an_attack() -> None:
    controls = [AttackRow(exchange(f"control {k}"), "control", harmful=False) for k in range(9)]
    with pytest.raises(ValueError, match="controls"):
        mixed(PLAIN, [*ATTACK, *controls], 0.1, 20, 0)
    labels = [label for label, _ in mixed(PLAIN, controls, 0.25, 20, 0)]
    assert Counter(label.kind for label in labels) == {HARMLESS: 15, "control": 5}
    assert not any(label.harmful for label in labels)
