from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradshield.data import Rejection
from gradshield.data.truncation import truncate

BOS = 1


def cut(head: int, tail: int, max_length: int, bos: int | None = None) -> list[int]:
    """The ids kept of 100, 101, ... (head) and 200, 201, ... (tail)."""
    ids = [*range(100, 100 + head), *range(200, 200 + tail)]
    if bos is not None:
        ids[0] = bos
    kept, mask = truncate(ids, [False] * head + [True] * tail, max_length, BOS)
    assert mask == [token >= 200 for token in kept]
    return kept


def test_a_long_prompt_loses_its_beginning() -> None:
    assert cut(10, 2, 6) == [106, 107, 108, 109, 200, 201]


def test_a_long_response_loses_its_end() -> None:
    assert cut(2, 10, 6) == [100, 101, 200, 201, 202, 203]


def test_between_two_long_sides_the_length_is_halved() -> None:
    assert cut(10, 10, 6) == [107, 108, 109, 200, 201, 202]
    assert cut(10, 10, 7) == [106, 107, 108, 109, 200, 201, 202]


def test_a_bos_token_stays_in_front() -> None:
    assert cut(10, 10, 6, bos=BOS) == [BOS, 108, 109, 200, 201, 202]
    assert cut(1, 10, 3, bos=BOS) == [BOS, 200, 201]
    assert cut(10, 10, 2, bos=BOS) == [BOS, 200]


def test_later_prompts_in_the_tail_are_cut_with_it() -> None:
    mask = [False, False, True, False, False, True]
    assert truncate(range(6), mask, 4, None) == ([0, 1, 2, 3], [False, False, True, False])
    # Responses "last": what comes before is all head.
    mask = [False] * 5 + [True]
    assert truncate(range(6), mask, 4, None) == ([2, 3, 4, 5], [False, False, False, True])


def test_no_response_left_is_refused_with_the_numbers() -> None:
    with pytest.raises(Rejection, match="of 4 tokens, 1 were to be kept") as rejection:
        cut(2, 2, 1)
    assert rejection.value.reason == "no_response_after_truncation"


@given(
    head=st.integers(1, 40),
    tail=st.integers(1, 40),
    max_length=st.integers(2, 79),
    bos=st.booleans(),
)
def test_what_is_kept_is_contiguous_and_shared_fairly(
    head: int, tail: int, max_length: int, bos: bool
) -> None:
    if head + tail <= max_length:
        return
    kept = cut(head, tail, max_length, BOS if bos else None)
    assert len(kept) == max_length
    of_tail = [token for token in kept if token >= 200]
    of_head = kept[: len(kept) - len(of_tail)]
    assert of_tail == list(range(200, 200 + len(of_tail)))
    end_of_head = list(range(100 + head - len(of_head), 100 + head))
    assert of_head == ([BOS, *end_of_head[1:]] if bos else end_of_head)
    assert len(of_tail) >= min(tail, max_length // 2)
    assert len(of_head) >= min(head, max_length - max_length // 2)
