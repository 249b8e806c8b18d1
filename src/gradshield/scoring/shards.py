"""Shards: the share of a run's parts that one of several processes scores."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gradshield.errors import UserError
from gradshield.scoring.parts import Part


@dataclass(frozen=True)
class Shard:
    """One of `count` shares of the parts, counted from 0 as launchers count ranks and tasks."""

    index: int = 0
    count: int = 1

    @property
    def is_whole(self) -> bool:
        """Whether it is all there is."""
        return self.count == 1

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def of(self, parts: Sequence[Part]) -> Sequence[Part]:
        """Its parts: neighbours, as many as any other shard has, or one more or less."""
        start, stop = (len(parts) * i // self.count for i in (self.index, self.index + 1))
        return parts[start:stop]


WHOLE = Shard()


def parse_shard(text: str) -> Shard:
    """A shard from text such as "0/8", the first of eight.

    Raises:
        UserError: The text is no shard, or there is none of that number.
    """
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip(), re.ASCII)
    count = int(found[2]) if found else 0
    if found is None or int(found[1]) >= count:
        known = f"from 0/{count} to {count - 1}/{count}" if count else "such as 0/8"
        raise UserError(
            f"--shard {text}: shards are counted from 0 and written INDEX/COUNT, {known}."
        )
    return Shard(int(found[1]), count)
