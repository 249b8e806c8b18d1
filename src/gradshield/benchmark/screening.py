"""What a screen that reads only the beginning of each response could save, and what it may miss.

The token contributions of a full run tell it without another pass: the score of a response cut
after k tokens is the sum of its first k contributions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from gradshield.data.tokenization import TokenizedExample
from gradshield.scoring.engines import ExampleScore

FIRST_TOKENS = (8, 16, 32, 64, 128)
REMOVED_SHARE = 0.1
"""The threshold is put where it would remove this share of the rows."""
MISSED_SHARE = 0.01
"""Share of rows above the threshold, at most, that the screen may lose."""


def screening_rows(
    scores: Mapping[int, ExampleScore], examples: Sequence[TokenizedExample]
) -> list[dict[str, Any]]:
    """For each k: how a screen by the first k response tokens ranks, and the work it leaves.

    A row goes on to the exact score if its screen, and the margin, reach the threshold. The margin
    is what the score of all but a small share of rows exceeds their screen by at most: a conformal
    bound, which holds for rows drawn like these. It says nothing about rows that somebody wrote to
    look harmless at the beginning.
    """
    full = np.array([scores[example.row].fihs for example in examples])
    threshold = float(np.quantile(full, 1 - REMOVED_SHARE))
    found = []
    for first in FIRST_TOKENS:
        screen = np.array([sum((scores[e.row].token_fihs or ())[:first]) for e in examples])
        margin = conformal_margin(full - screen, MISSED_SHARE)
        again = screen + margin >= threshold
        cut = [_length_to(example, first) for example in examples]
        whole = [len(example.input_ids) for example in examples]
        work = sum(cut) + sum(length for length, more in zip(whole, again, strict=True) if more)
        found.append(
            {
                "case": "screen",
                "first_tokens": first,
                "spearman": float(spearmanr(screen, full).statistic),
                "margin": margin,
                "scored_again": float(again.mean()),
                "tokens_of_full_scoring": work / sum(whole),
                "missed": float(np.mean(full[~again] >= threshold)) if (~again).any() else 0.0,
            }
        )
    return found


def conformal_margin(excess: np.ndarray[Any, np.dtype[np.float64]], share: float) -> float:
    """What the excess of a new row exceeds with a probability of at most `share`.

    Args:
        excess: Score minus screen of n rows that are exchangeable with the new one.
        share: The probability, in (0, 1).

    Returns:
        The k-th smallest excess with k = ceil((1 - share) (n + 1)); infinity if there are too few.
    """
    rank = int(np.ceil((1 - share) * (len(excess) + 1)))
    return float(np.sort(excess)[rank - 1]) if rank <= len(excess) else float("inf")


def _length_to(example: TokenizedExample, first: int) -> int:
    """Tokens up to the last one of the first k response tokens."""
    places = [place for place, is_response in enumerate(example.response_mask) if is_response]
    return places[min(first, len(places)) - 1] + 1
