"""Shards of a run, in words."""

from __future__ import annotations

import pytest

from gradshield.errors import UserError
from gradshield.scoring.shards import Shard, parse_shard


def test_a_shard_is_read_back() -> None:
    assert parse_shard(f"{Shard(2, 5)}") == Shard(2, 5)
    assert Shard().is_whole
    assert not Shard(0, 2).is_whole


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("3/3", "from 0/3 to 2/3"),
        ("7/3", "from 0/3 to 2/3"),
        ("1", "such as 0/8"),
        ("1/0", "such as 0/8"),
        ("0/1234567890", "such as 0/8"),
    ],
)
def test_what_a_shard_may_be_is_said(text: str, known: str) -> None:
    with pytest.raises(UserError) as refusal:
        parse_shard(text)
    assert str(refusal.value) == (
        f"--shard {text}: shards are counted from 0 and written INDEX/COUNT, {known}."
    )
