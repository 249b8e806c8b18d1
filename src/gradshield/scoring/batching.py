"""Batches of examples of similar length, bounded by a number of tokens."""

from __future__ import annotations

from collections.abc import Sequence

from gradshield.data.tokenization import TokenizedExample

DEFAULT_BATCH_TOKENS = 2048
"""Padded tokens of one batch; more gains little on a CPU."""


def batches_by_length(
    examples: Sequence[TokenizedExample], batch_tokens: int = DEFAULT_BATCH_TOKENS
) -> list[list[TokenizedExample]]:
    """Group examples so that rows x longest row stays within a token budget.

    Sorting by length first keeps padding small. An example longer than the budget gets a batch of
    its own. The grouping depends on the examples alone, so a run can be repeated exactly.
    """
    by_length = sorted(examples, key=lambda example: (len(example.input_ids), example.row))
    batches: list[list[TokenizedExample]] = []
    for example in by_length:
        # Sorted, so the newest example is the longest of its batch.
        padded = len(example.input_ids) * (len(batches[-1]) + 1) if batches else 0
        if batches and padded <= batch_tokens:
            batches[-1].append(example)
        else:
            batches.append([example])
    return batches
