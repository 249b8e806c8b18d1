"""From tokenised rows, plain ones or preferences, to lines of the score table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gradshield.config import ScoringSettings
from gradshield.data import Profile
from gradshield.data.pairs import TokenizedPair
from gradshield.data.tokenization import TokenizedExample
from gradshield.models.load import LoadedModel
from gradshield.scoring.engines import PreparedEngine
from gradshield.scoring.preference import preference_settings, score_pairs
from gradshield.scoring.reference import reference_examples, reference_pairs
from gradshield.scoring.score import score_examples
from gradshield.scoring.table import scored_line

Rows = Sequence[TokenizedExample | TokenizedPair]
"""Rows of one kind, all plain or all preferences."""


def settings_for(rows: Rows, settings: ScoringSettings) -> ScoringSettings:
    """The settings with which rows of this kind are scored.

    Raises:
        UserError: The engine cannot score preferences.
    """
    return preference_settings(settings) if hold_pairs(rows) else settings


def reference_for(
    rows: Rows,
    loaded: LoadedModel,
    profile: Profile | None = None,
    like: Mapping[str, Any] | None = None,
) -> Rows:
    """Harmless reference rows of the same kind, see `reference_examples`."""
    if hold_pairs(rows):
        return reference_pairs(loaded)
    return reference_examples(loaded, profile, like)


def hold_pairs(rows: Rows) -> bool:
    """Whether the rows are preferences."""
    return isinstance(next(iter(rows), None), TokenizedPair)


def score_lines(
    loaded: LoadedModel,
    rows: Rows,
    engine: PreparedEngine,
    settings: ScoringSettings,
    *,
    ids: Mapping[int, str | int | None],
    progress: Callable[[int], None] = lambda count: None,
) -> list[dict[str, Any]]:
    """Score rows; a line of the table for each, in their order.

    Args:
        loaded: The aligned model.
        rows: Rows of one kind.
        engine: Made ready with `settings_for` these rows.
        settings: The preference loss and its beta, and the size of batches.
        ids: The own id of a row, by its position.
        progress: Called with the number of rows that are done.
    """
    pairs = [row for row in rows if isinstance(row, TokenizedPair)]
    examples = [row for row in rows if isinstance(row, TokenizedExample)]
    if pairs:
        scores = score_pairs(loaded, pairs, engine, settings, progress=progress)
    else:
        scores = score_examples(
            loaded, examples, engine, batch_tokens=settings.batch_tokens, progress=progress
        )
    return [scored_line(row, scores[row.row], ids.get(row.row)) for row in rows]
