"""Antibody's weight: would the aligned model rather refuse than give this answer?

Nguyen et al. 2026, "Antibody: Strengthening Defense Against Harmful Fine-Tuning for Large Language
Models via Attenuating Harmful Gradient Influence" (arXiv 2603.00498). While finetuning, each row of
a batch is weighted by the softmax of log p(answer) - log p(refusal), so that rows which the model
would refuse hardly count. Here the weight's argument, with its sign turned, is a score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gradshield.data.tokenization import TokenizedExample
from gradshield.filters.base import Material, Need, Row, Scores, top_share
from gradshield.filters.mean_loss import mean_losses
from gradshield.models.likelihood import response_token_losses
from gradshield.models.load import LoadedModel
from gradshield.models.prompts import prompt_response_example
from gradshield.probes.wordings import SHORT_REFUSALS

REMOVED_SHARE = 0.2


@dataclass(frozen=True)
class RefusalLikelihood:
    """Rows whose answer is much less likely than a refusal count as harmful.

    Attributes:
        refusals: Wordings of a refusal. The paper has one for all prompts; several keep the score
            from depending on which words this model refuses in.
    """

    refusals: tuple[str, ...] = SHORT_REFUSALS
    name: str = "refusal_likelihood"
    needs: frozenset[Need] = frozenset()
    by_row: bool = True

    def score(self, rows: Sequence[Row], material: Material) -> Scores:
        """Mean loss of the answer minus mean loss of a refusal in its place; see `Filter`.

        Both are means over tokens, in nats, as in the released code; the paper's formula has sums,
        which would mostly tell long answers from short ones. The refusals' losses are averaged. In
        a conversation the refusal stands in the place of the first answer that carries loss. The
        highest fifth is removed: the paper weights rows and removes none.
        """
        answers = mean_losses(rows, material)
        refusals = np.empty(len(rows))
        with material.progress.track("Refusals", len(rows), "rows") as advance:
            for place, row in enumerate(rows):
                refusals[place] = refusal_loss(material.loaded, row.example, self.refusals)
                advance(1)
        values = answers - refusals
        return Scores(values, top_share(REMOVED_SHARE))


@torch.inference_mode()
def refusal_loss(loaded: LoadedModel, example: TokenizedExample, refusals: Sequence[str]) -> float:
    """Mean over refusals of the mean loss of their tokens after an example's prompt, in nats.

    The end of the turn counts as a token of the refusal, as it does in the rows.
    """
    prompt_ids = example.input_ids[: example.response_mask.index(True)]
    tokenizer = loaded.tokenizer
    refused = [
        [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        for text in refusals
    ]
    # One batch for a row: its refusals share the prompt, which is computed once.
    batch = [prompt_response_example(prompt_ids, ids) for ids in refused]
    losses = response_token_losses(loaded.model, batch)
    return float(torch.stack([loss.mean() for loss in losses]).mean())
