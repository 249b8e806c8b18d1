"""Which rows of two inputs are the same one: by their content, or by their own ids."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.int64]
Digests = npt.NDArray[np.bytes_]
Pairs = npt.NDArray[np.int64]
"""Rows of the first input and rows of the second, [pairs, 2]."""


def no_pairs() -> Pairs:
    """None of the rows is the same."""
    return np.zeros((0, 2), dtype=np.int64)


def same_content(first: Digests, second: Digests) -> Pairs:
    """Rows with the same content, the first with the first where there are several.

    Args:
        first: The digest of each row of one input, see `digests_of`; [rows].
        second: Of the other input.
    """
    both = np.concatenate([first, second])
    _, contents = np.unique(both, return_inverse=True)
    one, other = np.split(contents, [len(first)])
    return _equal(_numbered(one, len(both)), _numbered(other, len(both)))


def same_id(first: pa.ChunkedArray, second: pa.ChunkedArray, paired: Pairs) -> Pairs:
    """Rows not yet paired with the same id, which no other row of their input has.

    Args:
        first: The id of each row of one input, null without one; [rows].
        second: Of the other input.
        paired: Rows to leave out.
    """
    ids = pa.chunked_array([*first.chunks, *second.chunks], type=pa.string())
    codes = ids.combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy()
    keys, rows = [], []
    for own, taken in zip(np.split(codes, [len(first)]), paired.T, strict=True):
        _, places, counts = np.unique(own, return_inverse=True, return_counts=True)
        free = np.flatnonzero((own >= 0) & (counts[places] == 1) & others(len(own), taken))
        keys.append(own[free])
        rows.append(free)
    found = _equal(*keys)
    return np.stack([rows[0][found[:, 0]], rows[1][found[:, 1]]], axis=1)


def others(count: int, rows: Ints) -> npt.NDArray[np.bool_]:
    """Whether a row is none of these, [count]."""
    found = np.ones(count, dtype=np.bool_)
    found[rows] = False
    return found


def _numbered(contents: Ints, most: int) -> Ints:
    """A number for each row that no other row has: of its content, and how many are before it."""
    order = np.argsort(contents, kind="stable")
    ordered = contents[order]
    earlier = np.empty_like(order)
    earlier[order] = np.arange(order.size) - np.searchsorted(ordered, ordered)
    return contents * most + earlier


def _equal(first: Ints, second: Ints) -> Pairs:
    """Places at which two arrays without repetitions hold the same number."""
    _, one, other = np.intersect1d(first, second, assume_unique=True, return_indices=True)
    return np.stack([one, other], axis=1)
