from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gradshield.data.tokenization import TokenizedExample
from gradshield.scoring.batching import batches_by_length

lengths = st.lists(st.integers(2, 60), max_size=40)


def of_length(row: int, length: int) -> TokenizedExample:
    return TokenizedExample(row, (5,) * length, (False,) + (True,) * (length - 1), False)


@given(lengths, st.integers(1, 300))
def test_every_example_is_in_one_batch_and_no_batch_is_over_budget(
    sizes: list[int], budget: int
) -> None:
    examples = [of_length(row, size) for row, size in enumerate(sizes)]
    batches = batches_by_length(examples, budget)
    assert sorted(example.row for batch in batches for example in batch) == list(range(len(sizes)))
    for batch in batches:
        padded = len(batch) * max(len(example.input_ids) for example in batch)
        assert padded <= budget or len(batch) == 1


@given(lengths, st.integers(1, 300), st.randoms(use_true_random=False))
def test_the_order_of_the_input_changes_nothing(sizes: list[int], budget: int, random) -> None:
    examples = [of_length(row, size) for row, size in enumerate(sizes)]
    expected = batches_by_length(examples, budget)
    random.shuffle(examples)
    assert batches_by_length(examples, budget) == expected


def test_a_batch_is_filled_before_the_next_one_begins() -> None:
    # Sorted: 2, 3, 3, 4. 3 x 3 = 9 tokens fit into 10, a fourth row would make 4 x 4 = 16.
    examples = [of_length(row, size) for row, size in enumerate([4, 3, 2, 3])]
    rows = [[example.row for example in batch] for batch in batches_by_length(examples, 10)]
    assert rows == [[2, 1, 3], [0]]


def test_an_example_longer_than_the_budget_is_scored_by_itself() -> None:
    rows = [[e.row for e in b] for b in batches_by_length([of_length(0, 50), of_length(1, 50)], 10)]
    assert rows == [[0], [1]]


def test_a_batch_may_fill_its_budget_to_the_last_token() -> None:
    batches = batches_by_length([of_length(row, 3) for row in range(3)], 9)
    assert [len(batch) for batch in batches] == [3]
