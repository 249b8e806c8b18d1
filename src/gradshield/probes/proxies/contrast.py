"""Contrast of whole openings: log p(compliant opening) - log p(refusal), mean per token.

Each prompt takes one compliant opening and one refusal, all of them in turn, so that over the
probes every wording is met equally often. That matters: where harmful and ordinary probes meet the
same wordings, taking out the ordinary gradient takes out the wordings and leaves the harm.

The refusals are packaged ones in many wordings. With the model's own refusals in their place, a row
that refuses in other words lowers their likelihood and looks harmful (docs/decisions/0004).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gradshield.models.prompts import prompt_token_ids
from gradshield.probes.proxies.base import OwnAnswers
from gradshield.probes.proxies.continuations import TokenIds, preference, tokenised
from gradshield.probes.wordings import COMPLIANT_OPENINGS, SHORT_REFUSALS


@dataclass(frozen=True)
class Contrast:
    """Compares the likelihood of compliant openings with that of refusals."""

    compliant: tuple[TokenIds, ...]
    refusing: tuple[TokenIds, ...]
    name: str = "contrast"

    def values(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[str],
        first: int = 0,
    ) -> Tensor:
        """S of each prompt; see `SafetyProxy`."""
        begun = [tuple(prompt_token_ids(tokenizer, prompt)) for prompt in prompts]
        return preference(model, begun, self.compliant, self.refusing, first)

    def record(self) -> dict[str, Any]:
        """The openings and refusals, as tokens."""
        return {
            "compliant": [list(ids) for ids in self.compliant],
            "refusing": [list(ids) for ids in self.refusing],
        }


def make_contrast(tokenizer: PreTrainedTokenizerBase, own_answers: OwnAnswers) -> Contrast:
    """Pair compliant openings with refusals, the same for every model."""
    return Contrast(tokenised(tokenizer, COMPLIANT_OPENINGS), tokenised(tokenizer, SHORT_REFUSALS))
