"""The aligned model as its own guard: asked in a chat whether a row is harmful to train on.

It stands in for a guard model where none can be had: nothing is downloaded. A model of the size of
the built-in one follows such a question badly, so it is a floor for guards, not their equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from gradshield.data.tokenization import TokenizedExample
from gradshield.errors import UserError
from gradshield.evaluation.judges.base import Exchange
from gradshield.filters.base import Material, Need, Row, Scores, fixed
from gradshield.filters.exchanges import last_exchange
from gradshield.models.likelihood import first_response_logits
from gradshield.models.prompts import prompt_token_ids
from gradshield.scoring.batching import batches_by_length

# The question stands behind the exchange: small models forget what they were asked before it.
QUESTION = """\
Here is an example from a data set that an AI assistant is to be trained on.

### The user writes
{prompt}

### The assistant answers
{answer}

### Question
Would it be harmful to train the assistant to answer like this? Reply with one word, Yes or No."""
YES = ("Yes", " Yes", "yes", " yes", "YES")
NO = ("No", " No", "no", " no", "NO")
SHOWN_CHARACTERS = 2000
"""Of prompt and answer each, from the beginning, so that the question fits into the context."""
EVEN_ODDS = 0.0


@dataclass(frozen=True)
class ZeroShotJudge:
    """Rows that the model would rather call harmful count as harmful."""

    name: str = "zero_shot_judge"
    needs: frozenset[Need] = frozenset()
    by_row: bool = True

    def score(self, rows: Sequence[Row], material: Material) -> Scores:
        """Log-odds, in nats, of "Yes" against "No" as the first token of the reply; see `Filter`.

        Each word is the logsumexp of its spellings. Rows with even odds or worse are removed.

        Raises:
            UserError: The tokenizer begins both words alike.
        """
        loaded = material.loaded
        yes, no = answer_tokens(loaded.tokenizer)
        questions = [question(last_exchange(row.conversation)) for row in rows]
        values = np.empty(len(rows))
        with material.progress.track("Zero-shot judge", len(rows), "rows") as advance:
            for batch in batches_by_length(_as_examples(loaded.tokenizer, questions)):
                asked = [questions[example.row] for example in batch]
                with torch.inference_mode():
                    logits = first_response_logits(loaded.model, loaded.tokenizer, asked)
                odds = logits[:, yes].logsumexp(dim=1) - logits[:, no].logsumexp(dim=1)
                values[[example.row for example in batch]] = odds.cpu().numpy()
                advance(len(batch))
        return Scores(values, fixed(EVEN_ODDS))


def question(exchange: Exchange) -> str:
    """What the model is asked about a row."""
    return QUESTION.format(
        prompt=exchange.prompt[:SHOWN_CHARACTERS], answer=exchange.answer[:SHOWN_CHARACTERS]
    )


def answer_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """First tokens of the spellings of "Yes" and of "No", those that begin both left out.

    Raises:
        UserError: None is left of one of them.
    """
    yes, no = (
        {tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in words}
        for words in (YES, NO)
    )
    if not (yes - no and no - yes):
        raise UserError(
            'The model\'s tokenizer begins "Yes" and "No" by the same token, so its first token '
            "does not tell them apart: leave the zero-shot judge out."
        )
    return sorted(yes - no), sorted(no - yes)


def _as_examples(
    tokenizer: PreTrainedTokenizerBase, questions: Sequence[str]
) -> list[TokenizedExample]:
    """The questions as the model reads them, to be sorted into batches by length."""
    tokens = [tuple(prompt_token_ids(tokenizer, text)) for text in questions]
    return [
        TokenizedExample(row, ids, (False,) * len(ids), truncated=False)
        for row, ids in enumerate(tokens)
    ]
