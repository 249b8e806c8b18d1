"""Data sets in which a given share of the rows is an attacker's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from gradshield.benchmark.attacks.base import AttackRow
from gradshield.benchmark.demo_labels import Label
from gradshield.data import Conversation

HARMLESS = "harmless"
"""The kind, in labels, of rows that are no attacker's."""
Item = TypeVar("Item")


def mixed(
    harmless: Sequence[Conversation],
    attack_rows: Sequence[AttackRow],
    share: float,
    rows: int,
    seed: int,
) -> list[tuple[Label, Conversation]]:
    """Draw a data set of both, in a mixed order, with the truth about every row.

    With the same seed, a lower share gives a part of the attack rows of a higher one, and a higher
    share a part of the harmless rows of a lower one, so that shares are compared on like rows.

    Args:
        harmless: Rows to draw from; one that is also an attack row is never drawn from here.
        attack_rows: Rows of one attack, or controls of one, not both.
        share: Of the rows, in [0, 1], that are drawn from `attack_rows`; rounded to whole rows.
        rows: Rows of the data set.
        seed: Of drawing and order.

    Returns:
        The label (kind: the group, or `HARMLESS`) and the row.

    Raises:
        ValueError: The share is none, rows and controls are mixed, or there are too few of either.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"A share lies between 0 and 1, not at {share}.")
    if len({row.harmful for row in attack_rows}) > 1:
        raise ValueError("These are an attack's rows and its controls: draw from either alone.")
    attacked = round(share * rows)
    theirs = {row.conversation for row in attack_rows}
    plain = [(Label(HARMLESS, False), one) for one in harmless if one not in theirs]
    placed = [(Label(row.group, row.harmful), row.conversation) for row in attack_rows]
    generator = np.random.default_rng(seed)
    drawn = [
        *_drawn(plain, rows - attacked, "harmless", generator),
        *_drawn(placed, attacked, "attack", generator),
    ]
    return [drawn[place] for place in generator.permutation(rows)]


def _drawn(
    items: Sequence[Item], count: int, what: str, generator: np.random.Generator
) -> list[Item]:
    """The first `count` of a permutation, which does not depend on `count`."""
    if count > len(items):
        raise ValueError(f"The data set needs {count} {what} rows, and there are {len(items)}.")
    return [items[place] for place in generator.permutation(len(items))[:count]]
