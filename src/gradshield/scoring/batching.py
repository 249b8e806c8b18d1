"""Batches of examples of similar length, bounded by a number of tokens."""

from __future__ import annotations

from collections.abc import Sequence

from gradshield.data.tokenization import TokenizedExample

CPU_BATCH_TOKENS = 2048
"""Padded tokens of one batch; more gains little on a CPU."""


def by_length(examples: Sequence[TokenizedExample]) -> list[TokenizedExample]:
    """Shortest first, which keeps padding small; of the same length in the order of the rows."""
    return sorted(examples, key=lambda example: (len(example.input_ids), example.row))


def padded_tokens(batch: Sequence[TokenizedExample]) -> int:
    """Examples x longest example."""
    return len(batch) * max((len(example.input_ids) for example in batch), default=0)


def batch_end(examples: Sequence[TokenizedExample], start: int, batch_tokens: int) -> int:
    """Where the batch that begins at `start` ends, within a budget of padded tokens.

    Args:
        examples: Sorted by length.
        start: Position of the batch's first example.
        batch_tokens: The budget; an example longer than it gets a batch of its own.
    """
    end = start + 1
    # Sorted, so the newest example is the longest of its batch.
    while end < len(examples) and (end + 1 - start) * len(examples[end].input_ids) <= batch_tokens:
        end += 1
    return end


def batches_by_length(
    examples: Sequence[TokenizedExample], batch_tokens: int = CPU_BATCH_TOKENS
) -> list[list[TokenizedExample]]:
    """All batches of examples, sorted by length, within a budget of padded tokens.

    The grouping depends on the examples alone, so a run can be repeated exactly.
    """
    in_order = by_length(examples)
    batches: list[list[TokenizedExample]] = []
    start = 0
    while start < len(in_order):
        end = batch_end(in_order, start, batch_tokens)
        batches.append(in_order[start:end])
        start = end
    return batches
