"""Safety past the first sentence: log p(turn to compliance) - log p(going on to refuse).

A proxy that looks at the first tokens takes a refusal for the end of the matter, and with it rows
that refuse and then comply. Here the answer to each prompt already holds a refusal, and what
counts is how it goes on; mean per token, wordings in turn, as in `contrast`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gradshield.models.prompts import prompt_token_ids
from gradshield.probes.proxies.base import OwnAnswers
from gradshield.probes.proxies.continuations import TokenIds, in_turn, preference, tokenised
from gradshield.probes.wordings import SECOND_REFUSALS, SHORT_REFUSALS, TURNS_TO_COMPLIANCE


@dataclass(frozen=True)
class PastRefusal:
    """Compares two ways to go on after a refusal."""

    refusals: tuple[TokenIds, ...]
    turns: tuple[TokenIds, ...]
    second_refusals: tuple[TokenIds, ...]
    name: str = "past_refusal"

    def values(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[str],
        first: int = 0,
    ) -> Tensor:
        """S of each prompt; see `SafetyProxy`."""
        refused = [
            (*prompt_token_ids(tokenizer, prompt), *in_turn(self.refusals, first + index))
            for index, prompt in enumerate(prompts)
        ]
        return preference(model, refused, self.turns, self.second_refusals, first)

    def record(self) -> dict[str, Any]:
        """Refusals and what may follow them, as tokens."""
        return {
            "refusals": [list(ids) for ids in self.refusals],
            "turns": [list(ids) for ids in self.turns],
            "second_refusals": [list(ids) for ids in self.second_refusals],
        }


def make_past_refusal(tokenizer: PreTrainedTokenizerBase, own_answers: OwnAnswers) -> PastRefusal:
    """Packaged wordings, the same for every model."""
    return PastRefusal(
        tokenised(tokenizer, SHORT_REFUSALS),
        tokenised(tokenizer, [f" {text}" for text in TURNS_TO_COMPLIANCE]),
        tokenised(tokenizer, [f" {text}" for text in SECOND_REFUSALS]),
    )
