"""Lines of the score table from a model in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradshield.data.conversation import Rejection
from gradshield.data.tokenization import TokenizedExample
from gradshield.models.load import LoadedModel
from gradshield.scoring.engines import PreparedEngine
from gradshield.scoring.parts import Advance, Ids, ScoreLines
from gradshield.scoring.score import score_examples
from gradshield.scoring.table import reason_text, rejected_line, scored_line


def lines_by_model(
    loaded: LoadedModel, engine: PreparedEngine, batch_tokens: int | None
) -> ScoreLines:
    """Score with a model and an engine that is made ready for it.

    A row with a token that the model has no embedding for is rejected before it reaches an
    accelerator, which such a token would stop for good.

    Args:
        loaded: The aligned model.
        engine: How to compute the directional derivative.
        batch_tokens: Padded tokens of one batch, see `score_examples`.
    """
    known = embeddings(loaded)

    def score(
        examples: Sequence[TokenizedExample], ids: Ids, advance: Advance
    ) -> list[dict[str, Any]]:
        foreign = {e.row: max(e.input_ids) for e in examples if max(e.input_ids) >= known}
        readable = [example for example in examples if example.row not in foreign]
        scores = score_examples(
            loaded, readable, engine, batch_tokens=batch_tokens, progress=advance
        )
        advance(len(foreign))
        return [
            *(scored_line(e, scores[e.row], ids.get(e.row)) for e in readable),
            *(
                rejected_line(row, ids.get(row), _unknown_token(token, known))
                for row, token in foreign.items()
            ),
        ]

    return score


def embeddings(loaded: LoadedModel) -> int:
    """How many tokens the model has embeddings for."""
    weight: Any = loaded.model.get_input_embeddings()
    return int(weight.weight.shape[0])


def _unknown_token(token: int, known: int) -> str:
    detail = f"the tokenizer makes the token {token}, but the model knows {known} tokens"
    return reason_text(Rejection("unknown_token", detail))
