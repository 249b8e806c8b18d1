"""Response tokens of many rows end to end, and the runs of tokens in them, by columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from gradshield.scoring.table import ScoreTable

SHINGLE = 3
"""Tokens of a shingle; of a shorter response, all."""
TOKENS_PER_BLOCK = 1 << 18
"""Of what is worked on at a time."""

PRIME = np.uint64((1 << 31) - 1)
_LOW, _HALF = np.uint64((1 << 32) - 1), np.uint64(32)

Ints = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.uint64]
Number = TypeVar("Number", np.int64, np.uint64)


@dataclass(frozen=True)
class Lists:
    """Lists of numbers, one for each of some rows, end to end.

    Attributes:
        rows: Position of each row in the input, ascending, [lists].
        lengths: At least one, [lists].
        values: [sum of lengths].
    """

    rows: Ints
    lengths: Ints
    values: Numbers

    @cached_property
    def starts(self) -> Ints:
        """Where each list begins in `values`, [lists]."""
        return np.cumsum(self.lengths) - self.lengths

    def take(self, places: Ints) -> Lists:
        """The lists at these places, in this order, which need not be ascending."""
        lengths = self.lengths[places]
        return Lists(self.rows[places], lengths, self.values[_runs(self.starts[places], lengths)])

    def of_rows(self, rows: Ints) -> Lists:
        """The lists of those of these rows that have one here."""
        return self.take(np.flatnonzero(np.isin(self.rows, rows)))

    def owners(self) -> Numbers:
        """The place of the list that each value is of, [values]."""
        return np.repeat(np.arange(len(self.rows), dtype=np.uint64), self.lengths)


def joined(parts: Iterable[Lists]) -> Lists:
    """Lists of several blocks as one."""
    found = list(parts)
    return Lists(
        np.concatenate([part.rows for part in found]),
        np.concatenate([part.lengths for part in found]),
        np.concatenate([part.values for part in found]),
    )


def responses_of(table: ScoreTable) -> Iterator[Lists]:
    """The response tokens of a score table, some rows at a time; rows without tokens are left out.

    Values are token ids.
    """
    waiting: list[Lists] = []
    for batch in table.batches(["row", "token_ids"]):
        tokens = batch.column("token_ids")
        lengths = tokens.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
        filled = lengths > 0
        rows = batch.column("row").to_numpy()
        waiting.append(
            Lists(
                rows[filled],
                lengths[filled].astype(np.int64),
                tokens.flatten().to_numpy(zero_copy_only=False).astype(np.uint64),
            )
        )
        if sum(part.values.size for part in waiting) >= TOKENS_PER_BLOCK:
            yield joined(waiting)
            waiting = []
    if waiting:
        yield joined(waiting)


def shingles_of(responses: Lists) -> Lists:
    """Hashes below `PRIME` of all runs of `SHINGLE` tokens, of each row each once and sorted."""
    if not responses.rows.size:
        return responses
    counts = np.maximum(responses.lengths - (SHINGLE - 1), 1)
    ends = np.repeat(responses.starts + responses.lengths, counts)
    owners = np.repeat(np.arange(counts.size, dtype=np.uint64), counts)
    at = _runs(responses.starts, counts)
    ids = responses.values + np.uint64(1)
    hashed = np.zeros(at.size, dtype=np.uint64)
    for offset in range(SHINGLE):
        inside = at + offset < ends
        following = ids[np.minimum(at + offset, ids.size - 1)]
        hashed = np.where(inside, (hashed * np.uint64(1_000_003) + following) % PRIME, hashed)
    keys = distinct(owners << _HALF | hashed)
    lengths = np.bincount((keys >> _HALF).astype(np.int64), minlength=counts.size)
    return Lists(responses.rows, lengths, keys & _LOW)


def likeness(first: Lists, second: Lists) -> npt.NDArray[np.float64]:
    """Jaccard index of two sets of shingles, for as many sets of the one as of the other."""
    one, other = (sets.owners() << _HALF | sets.values for sets in (first, second))
    both = np.intersect1d(one, other, assume_unique=True) >> _HALF
    common = np.bincount(both.astype(np.int64), minlength=first.lengths.size)
    return np.asarray(common / (first.lengths + second.lengths - common), dtype=np.float64)


def distinct(numbers: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """Each number once, sorted: `numpy.unique`, which hashes, takes minutes for such keys."""
    ordered = np.sort(numbers)
    return np.asarray(ordered[np.r_[True, ordered[1:] != ordered[:-1]][: ordered.size]])


def _runs(starts: Ints, lengths: Ints) -> Ints:
    """The neighbouring places from each start on, so many, end to end."""
    before = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.arange(before.size) - before + np.repeat(starts, lengths)
