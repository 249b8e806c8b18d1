"""Lines of the score table from a model in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradshield.config import ScoringSettings
from gradshield.data.survey import Scorable
from gradshield.models.load import LoadedModel
from gradshield.models.usable import embedded_tokens, unreadable
from gradshield.scoring.engines import PreparedEngine
from gradshield.scoring.lines import score_lines
from gradshield.scoring.parts import Advance, Ids, ScoreLines
from gradshield.scoring.table import reason_text, rejected_line


def lines_by_model(
    loaded: LoadedModel, engine: PreparedEngine, settings: ScoringSettings
) -> ScoreLines:
    """Score with a model and an engine that is made ready for it.

    A row with a token that the model has no embedding for is rejected before it reaches an
    accelerator, which such a token would stop for good.

    Args:
        loaded: The aligned model.
        engine: How to compute the directional derivative, made ready with these settings.
        settings: See `score_lines`.
    """
    known = embedded_tokens(loaded.model)

    def score(rows: Sequence[Scorable], ids: Ids, advance: Advance) -> list[dict[str, Any]]:
        foreign = unreadable(rows, known)
        readable = [row for row in rows if row.row not in foreign]
        lines = score_lines(loaded, readable, engine, settings, ids=ids, progress=advance)
        advance(len(foreign))
        return lines + [
            rejected_line(row, ids.get(row), reason_text(rejection))
            for row, rejection in foreign.items()
        ]

    return score
