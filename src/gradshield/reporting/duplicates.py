"""Groups of rows whose response tokens are nearly the same.

Shingles of the response tokens, MinHash signatures of them, and bands of those: only rows that
agree in a band are compared, so that a hundred thousand rows take seconds (Broder, *On the
resemblance and containment of documents*, 1997; Leskovec, Rajaraman and Ullman, *Mining of Massive
Datasets*, chapter 3).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

SHINGLE = 3
"""Tokens of a shingle; of a shorter response, all."""
SIMILAR_FROM = 0.7
"""Share of shingles that two responses must have in common (Jaccard) to be near-duplicates."""
BANDS, ROWS_PER_BAND = 16, 4
"""A pair of that likeness agrees in a band with a probability of 0.99, one of 0.3 with 0.12."""

_PRIME = np.uint64((1 << 31) - 1)

Hashes = npt.NDArray[np.uint64]


def near_duplicates(responses: Mapping[int, Sequence[int]]) -> dict[int, int]:
    """Number of the group of each row that has a near-duplicate; all others are left out.

    Args:
        responses: Response tokens by row; rows without tokens are left out.

    Returns:
        Groups are numbered from 0 in the order of their first row.
    """
    shingles = {row: _shingles(tokens) for row, tokens in responses.items() if len(tokens)}
    parents = {row: row for row in shingles}
    for bucket in _buckets(shingles):
        # Against the first of its bucket only: pairs among the others meet in other bands.
        first = bucket[0]
        for row in bucket[1:]:
            roots = _root(parents, first), _root(parents, row)
            if roots[0] != roots[1] and _likeness(shingles[first], shingles[row]) >= SIMILAR_FROM:
                parents[max(roots)] = min(roots)
    members: dict[int, list[int]] = defaultdict(list)
    for row in sorted(parents):
        members[_root(parents, row)].append(row)
    groups = [rows for rows in members.values() if len(rows) > 1]
    return {row: number for number, rows in enumerate(groups) for row in rows}


def responses_of(lines: Sequence[Mapping[str, Any]]) -> dict[int, Sequence[int]]:
    """Response tokens by row, from the lines of a score table."""
    return {line["row"]: line["token_ids"] for line in lines if line["token_ids"]}


def _shingles(tokens: Sequence[int]) -> Hashes:
    """Hashes of all runs of `SHINGLE` tokens, each once, sorted; shape (shingles,)."""
    ids = np.asarray(tokens, dtype=np.uint64) + np.uint64(1)
    width = min(SHINGLE, ids.size)
    hashed = np.zeros(ids.size - width + 1, dtype=np.uint64)
    for offset in range(width):
        hashed = (hashed * np.uint64(1_000_003) + ids[offset : offset + hashed.size]) % _PRIME
    return np.unique(hashed)


def _buckets(shingles: Mapping[int, Hashes]) -> list[list[int]]:
    """Rows that agree in a band, at least two in each bucket."""
    generator = np.random.default_rng(0)
    count = BANDS * ROWS_PER_BAND
    factors = generator.integers(1, int(_PRIME), size=(count, 1), dtype=np.uint64)
    offsets = generator.integers(0, int(_PRIME), size=(count, 1), dtype=np.uint64)
    found: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for row, hashed in shingles.items():
        signature = ((factors * hashed + offsets) % _PRIME).min(axis=1)
        for band, part in enumerate(signature.reshape(BANDS, ROWS_PER_BAND)):
            found[band, part.tobytes()].append(row)
    return [rows for rows in found.values() if len(rows) > 1]


def _likeness(first: Hashes, second: Hashes) -> float:
    """Jaccard index of two sets of shingles."""
    common = np.intersect1d(first, second, assume_unique=True).size
    return float(common / (first.size + second.size - common))


def _root(parents: dict[int, int], row: int) -> int:
    while parents[row] != row:
        parents[row] = row = parents[parents[row]]
    return row
