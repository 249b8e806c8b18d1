"""What an attacker who knows the method can ask: the score of any row it makes up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from transformers import PreTrainedTokenizerBase

from gradshield.data import Conversation, TokenizedExample, tokenize_conversation
from gradshield.models.layers import LATE_MLP
from gradshield.models.load import LoadedModel
from gradshield.probes.calibration import cleaned_direction
from gradshield.probes.direction import Direction
from gradshield.probes.proxies import OwnAnswers
from gradshield.probes.proxies.contrast import make_contrast
from gradshield.progress import Progress, Silent
from gradshield.scoring.engines import PreparedEngine
from gradshield.scoring.score import score_examples
from gradshield.threshold.rule import FloatArray

Scorer = Callable[[Sequence[TokenizedExample]], FloatArray]
"""Scores [examples], in the order of the examples; higher = removed first."""


@dataclass(frozen=True)
class Victim:
    """The filter as the attacker sees it.

    Attributes:
        score: FIHS by the filter's own probes for an attacker who knows them, otherwise by a
            direction that the attacker has measured on probes of its own, see `own_direction`.
        tokenizer: The aligned model's.
        max_length: Tokens to which rows are cut; None for no limit.
        seed: Of everything random.
        progress: Told how far the search is.
    """

    score: Scorer
    tokenizer: PreTrainedTokenizerBase
    max_length: int | None = None
    seed: int = 0
    progress: Progress = field(default_factory=Silent)

    def scores(self, conversations: Sequence[Conversation]) -> FloatArray:
        """Scores of rows, [rows].

        Raises:
            ValueError: A score is missing or not finite.
        """
        examples = [
            tokenize_conversation(one, self.tokenizer, row=row, max_length=self.max_length)
            for row, one in enumerate(conversations)
        ]
        found = self.score(examples)
        if found.shape != (len(examples),) or not np.isfinite(found).all():
            raise ValueError("The scorer did not give every row a finite score.")
        return found


def fihs_scorer(
    loaded: LoadedModel, engine: PreparedEngine, *, batch_tokens: int | None = None
) -> Scorer:
    """FIHS by an engine that is ready for a model and a direction."""

    def score(examples: Sequence[TokenizedExample]) -> FloatArray:
        found = score_examples(loaded, examples, engine, batch_tokens=batch_tokens)
        return np.array([found[example.row].fihs for example in examples])

    return score


def own_direction(
    loaded: LoadedModel,
    prompts: Sequence[str],
    progress: Progress,
    *,
    modules: str | None = LATE_MLP,
) -> Direction:
    """The direction of somebody who has the model and the program, but not the probes.

    The default proxy on other harmful prompts, with what harmless rows span taken out.

    Args:
        loaded: The aligned model.
        prompts: The attacker's own probes.
        progress: Told how far it is.
        modules: Which layers, see `block_weights`; by default those of the default filter.

    Raises:
        UserError: The gradient is zero or not finite.
    """
    proxy = make_contrast(loaded.tokenizer, OwnAnswers([], []))
    return cleaned_direction(
        loaded, [proxy], prompts, modules=modules, take_out="harmless", progress=progress
    )
