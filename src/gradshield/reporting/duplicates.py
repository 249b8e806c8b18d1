"""Groups of rows whose response tokens are nearly the same.

Shingles of the response tokens, MinHash signatures of them, and bands of those: only rows that
agree in a band are compared, so that a million rows take a minute (Broder, *On the resemblance and
containment of documents*, 1997; Leskovec, Rajaraman and Ullman, *Mining of Massive Datasets*,
chapter 3). Of each row a hash of its tokens and one of each band are kept; the tokens of those that
may be alike are read again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from gradshield.reporting.shingles import (
    PRIME,
    Ints,
    Lists,
    Numbers,
    distinct,
    joined,
    likeness,
    shingles_of,
)

SIMILAR_FROM = 0.7
"""Share of shingles that two responses must have in common (Jaccard) to be near-duplicates."""
BANDS, ROWS_PER_BAND = 16, 4
"""A pair of that likeness agrees in a band with a probability of 0.99, one of 0.3 with 0.12."""
MOST_SHINGLES = 1 << 24
"""In memory at a time, when rows that may be alike are compared."""

_MIXER = np.uint64(0x9E3779B97F4A7C15)

ReadResponses = Callable[[], Iterable[Lists]]
"""Reads the response tokens of all rows, some rows at a time, each time from the beginning."""


@dataclass(frozen=True)
class _Signatures:
    """What is kept of every row.

    Attributes:
        tokens: Number of response tokens, [rows].
        content: Hash of them, [rows].
        bands: Hash of each band of the MinHash signature, [BANDS, rows].
    """

    tokens: Ints
    content: Numbers
    bands: Numbers


def near_duplicates(read: ReadResponses, rows: int) -> Ints:
    """Number of the group of each row that has a near-duplicate, -1 for all others; [rows].

    Args:
        read: Gives the response tokens; rows without tokens are in no group.
        rows: Number of rows of the input.

    Returns:
        Groups are numbered from 0 in the order of their first row.
    """
    tokens, copies, first, second = _candidates(_sign(read(), rows))
    alike = _compare(read, first, second, tokens)
    others = np.flatnonzero((copies >= 0) & (copies != np.arange(rows)))
    return _groups(
        np.concatenate([first[alike], copies[others]]),
        np.concatenate([second[alike], others]),
        rows,
    )


def _sign(blocks: Iterable[Lists], rows: int) -> _Signatures:
    found = _Signatures(
        np.zeros(rows, dtype=np.int64),
        np.zeros(rows, dtype=np.uint64),
        np.zeros((BANDS, rows), dtype=np.uint64),
    )
    for block in blocks:
        if block.rows.size:
            found.tokens[block.rows] = block.lengths
            found.content[block.rows] = _content_hashes(block)
            found.bands[:, block.rows] = _band_hashes(shingles_of(block))
    return found


def _content_hashes(block: Lists) -> Numbers:
    pieces = np.split(block.values, block.starts[1:])
    digests = [hashlib.blake2b(piece.tobytes(), digest_size=8).digest() for piece in pieces]
    return np.frombuffer(b"".join(digests), dtype=np.uint64)


def _band_hashes(sets: Lists) -> Numbers:
    """Hashes of the bands of MinHash signatures, [BANDS, lists]."""
    generator = np.random.default_rng(0)
    count = BANDS * ROWS_PER_BAND
    factors = generator.integers(1, int(PRIME), size=count, dtype=np.uint64)
    offsets = generator.integers(0, int(PRIME), size=count, dtype=np.uint64)
    bands = np.zeros((BANDS, sets.rows.size), dtype=np.uint64)
    for place, (factor, offset) in enumerate(zip(factors, offsets, strict=True)):
        smallest = np.minimum.reduceat((factor * sets.values + offset) % PRIME, sets.starts)
        band = place // ROWS_PER_BAND
        bands[band] = bands[band] * _MIXER + smallest
    return bands


def _first_copies(found: _Signatures) -> Ints:
    """The first row with the very tokens of each row, -1 for rows without tokens; [rows]."""
    filled = np.flatnonzero(found.tokens)
    _, first, inverse = np.unique(found.content[filled], return_index=True, return_inverse=True)
    copies = np.full(found.tokens.size, -1, dtype=np.int64)
    copies[filled] = filled[first][inverse]
    return copies


def _candidates(found: _Signatures) -> tuple[Ints, Ints, Ints, Ints]:
    """Pairs of rows that may be alike: of those that agree in a band, each with the first.

    Pairs among the others meet in other bands. Only the first copy of the same tokens takes part.

    Returns:
        The number of tokens of each row, the first copy of each, and the rows of each pair, by
        ascending second.
    """
    rows, copies = found.tokens.size, _first_copies(found)
    originals = np.flatnonzero(copies == np.arange(rows))
    # A pair is one number, by which pairs are sorted and each is there once: second, then first.
    pairs = np.zeros(0, dtype=np.int64)
    for band in found.bands:
        order = originals[np.argsort(band[originals], kind="stable")]
        begins = np.r_[True, np.diff(band[order]) != 0][: order.size]
        first = order[begins][np.cumsum(begins) - 1]
        pairs = distinct(np.concatenate([pairs, (order * rows + first)[~begins]]))
    second, first = np.divmod(pairs, max(rows, 1))
    return found.tokens, copies, first, second


def _compare(read: ReadResponses, first: Ints, second: Ints, tokens: Ints) -> npt.NDArray[np.bool_]:
    """Whether the two rows of each pair are near-duplicates, [pairs]; by ascending `second`."""
    alike = np.zeros(first.size, dtype=np.bool_)
    originals = distinct(first)
    for firsts in _at_most(originals, tokens[originals]):
        pairs = np.flatnonzero(np.isin(first, firsts))
        known = joined(shingles_of(block.of_rows(firsts)) for block in read())
        for block in read():
            own = pairs[_between(second[pairs], block.rows)]
            for some in _at_most(own, tokens[first[own]] + tokens[second[own]]):
                sets = shingles_of(block.of_rows(second[some]))
                likenesses = likeness(
                    known.take(np.searchsorted(known.rows, first[some])),
                    sets.take(np.searchsorted(sets.rows, second[some])),
                )
                alike[some] = likenesses >= SIMILAR_FROM
    return alike


def _between(ascending: Ints, rows: Ints) -> slice:
    """Where the numbers stand that are among the rows of a block, or between them."""
    if not rows.size:
        return slice(0)
    low, high = np.searchsorted(ascending, [rows[0], rows[-1] + 1])
    return slice(int(low), int(high))


def _at_most(places: Ints, sizes: Ints) -> Iterator[Ints]:
    """Places, of so many shingles each, in runs of about `MOST_SHINGLES`, or of one place."""
    number = np.cumsum(sizes) // MOST_SHINGLES
    yield from np.split(places, np.flatnonzero(np.diff(number)) + 1) if places.size else ()


def _groups(first: Ints, second: Ints, rows: int) -> Ints:
    """Numbers of the groups that pairs hold together, -1 for rows in no pair; [rows]."""
    pairs = coo_array((np.ones(first.size, dtype=np.int8), (first, second)), shape=(rows, rows))
    _, labels = connected_components(pairs, directed=False)
    _, earliest, sizes = np.unique(labels, return_index=True, return_counts=True)
    numbers = np.full(sizes.size, -1, dtype=np.int64)
    several = np.flatnonzero(sizes > 1)
    numbers[several[np.argsort(earliest[several])]] = np.arange(several.size)
    return np.asarray(numbers[labels])
