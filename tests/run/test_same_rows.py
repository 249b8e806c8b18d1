"""Which rows of two inputs are the same, against pairing them one by one."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from gradshield.run.same_rows import no_pairs, same_content, same_id

few = st.lists(st.sampled_from("abcd"), max_size=12)
ids = st.lists(st.none() | st.sampled_from("abcdefg"), max_size=9)


def _digests(contents: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.bytes_]]:
    digests = [hashlib.sha256(content.encode()).digest() for content in contents]
    return np.frombuffer(b"".join(digests), dtype="S32")


@given(few, few)
def test_the_first_with_the_first_of_the_same_content(one: list[str], other: list[str]) -> None:
    places = defaultdict(list)
    for row, content in enumerate(other):
        places[content].append(row)
    expected = {(row, places[text].pop(0)) for row, text in enumerate(one) if places[text]}
    found = same_content(_digests(one), _digests(other))
    assert set(map(tuple, found.tolist())) == expected
    assert len(found) == len(expected)


def test_a_digest_that_ends_in_zeros_is_whole() -> None:
    zeros = np.frombuffer(bytes(32) + b"\1" + bytes(31), dtype="S32")
    assert same_content(zeros, zeros[::-1]).tolist() == [[0, 1], [1, 0]]


@given(ids, ids)
def test_ids_that_one_row_has_alone(one: list[str | None], other: list[str | None]) -> None:
    expected = [
        (row, other.index(own))
        for row, own in enumerate(one)
        if own is not None and one.count(own) == other.count(own) == 1
    ]
    columns = [pa.chunked_array([pa.array(own, pa.string())]) for own in (one, other)]
    found = same_id(*columns, no_pairs())
    assert sorted(map(tuple, found.tolist())) == expected
    rest = same_id(*columns, np.array(expected[:1], dtype=np.int64).reshape(-1, 2))
    assert sorted(map(tuple, rest.tolist())) == expected[1:]
