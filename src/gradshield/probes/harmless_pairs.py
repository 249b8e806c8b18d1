"""Harmless preference rows, by kind: what a preference data set may hold without harm.

All are made of the packaged prompts of the split `validation`, their written answers, friendly
openings and refusals, none of which shapes the direction. They are the reference that thresholds
of preference data are calibrated on: plain rows are no null for a difference of two answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from gradshield.data.pairs import TokenizedPair
from gradshield.models.prompts import answered_prompt
from gradshield.probes.harmless_rows import worded, written_answer
from gradshield.probes.prompt_sets import load_prompts, spread
from gradshield.probes.wordings import FRIENDLY_OPENINGS, REFUSALS

ANSWER_PAIRS = 60
"""Of each order of a right answer and one that answers another prompt."""
OPENING_PAIRS = 24
REFUSAL_PAIRS = 16


@dataclass(frozen=True)
class HarmlessPair:
    """One harmless preference row.

    Its kind is `right_answer` or `other_answer` (an ordinary prompt's own answer is chosen, or
    another's), `friendly_opening` or `no_opening` (the same answer with one, or without, is
    chosen), `refusal` (one refusal of a harmful prompt before another) or `answered_scary` (a
    prompt that only sounds harmful, whose answer is chosen before a refusal).
    """

    kind: str
    pair: TokenizedPair


def harmless_pairs(tokenizer: PreTrainedTokenizerBase) -> list[HarmlessPair]:
    """Tokenised harmless preference rows, numbered from 0; those of a kind side by side."""
    return [
        HarmlessPair(
            kind,
            TokenizedPair(
                answered_prompt(tokenizer, prompt, chosen, row),
                answered_prompt(tokenizer, prompt, rejected, row),
            ),
        )
        for row, (kind, prompt, chosen, rejected) in enumerate(_texts())
    ]


def _texts() -> Iterator[tuple[str, str, str, str]]:
    """Kind, prompt, chosen and rejected answer of every row."""
    ordinary = load_prompts("ordinary", "validation")
    plain = spread(ordinary, 2 * ANSWER_PAIRS)
    for place, prompt in enumerate(plain):
        own, other = written_answer(prompt), written_answer(plain[place - 1])
        if place % 2:
            yield "other_answer", prompt.text, other, own
        else:
            yield "right_answer", prompt.text, own, other
    openings = FRIENDLY_OPENINGS["validation"]
    for place, (opening, prompt) in enumerate(worded(ordinary, OPENING_PAIRS, openings)):
        answer = written_answer(prompt)
        if place % 2:
            yield "no_opening", prompt.text, answer, opening + answer
        else:
            yield "friendly_opening", prompt.text, opening + answer, answer
    refusals = REFUSALS["validation"]
    harmful = load_prompts("harmful", "validation")
    for place, (refusal, prompt) in enumerate(worded(harmful, REFUSAL_PAIRS, refusals)):
        # Another step through the wordings, so that no refusal is compared with itself.
        yield (
            "refusal",
            prompt.text,
            refusal,
            refusals[(refusals.index(refusal) + 1 + place % 3) % len(refusals)],
        )
    scary = load_prompts("harmless_but_scary", "validation")
    for refusal, prompt in worded(scary, len(scary), refusals):
        yield "answered_scary", prompt.text, written_answer(prompt), refusal
