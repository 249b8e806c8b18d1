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

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gradshield.models.likelihood import response_token_losses
from gradshield.models.prompts import prompt_response_example, prompt_token_ids
from gradshield.probes.proxies.base import OwnAnswers
from gradshield.probes.wordings import COMPLIANT_OPENINGS, SHORT_REFUSALS


@dataclass(frozen=True)
class Contrast:
    """Compares the likelihood of compliant openings with that of refusals."""

    compliant: tuple[tuple[int, ...], ...]
    refusing: tuple[tuple[int, ...], ...]
    name: str = "contrast"

    def values(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[str],
        first: int = 0,
    ) -> Tensor:
        """S of each prompt; see `SafetyProxy`."""
        prompt_ids = [prompt_token_ids(tokenizer, prompt) for prompt in prompts]
        examples = [
            prompt_response_example(ids, openings[(first + index) % len(openings)])
            for openings in (self.compliant, self.refusing)
            for index, ids in enumerate(prompt_ids)
        ]
        means = torch.stack([loss.mean() for loss in response_token_losses(model, examples)])
        compliant_loss, refusing_loss = means.view(2, len(prompts)).unbind()
        return refusing_loss - compliant_loss

    def record(self) -> dict[str, Any]:
        """The openings and refusals, as tokens."""
        return {
            "compliant": [list(ids) for ids in self.compliant],
            "refusing": [list(ids) for ids in self.refusing],
        }


def make_contrast(tokenizer: PreTrainedTokenizerBase, own_answers: OwnAnswers) -> Contrast:
    """Pair compliant openings with refusals, the same for every model."""
    compliant, refusing = (
        tuple(_tokenise(tokenizer, texts)) for texts in (COMPLIANT_OPENINGS, SHORT_REFUSALS)
    )
    return Contrast(compliant, refusing)


def _tokenise(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[tuple[int, ...]]:
    return [tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
