"""Harmless preference rows, by kind: what a preference data set may hold without harm.

All are made of the packaged prompts of the split `validation`, their written answers, friendly
openings and refusals, none of which shapes the direction; only the rejected side of `refused` has
openings that do. They are the reference that thresholds of preference data are calibrated on: plain
rows are no null for a difference of two answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from gradshield.data.pairs import TokenizedPair
from gradshield.models.prompts import answered_prompt
from gradshield.probes.harmless_rows import worded, written_answer
from gradshield.probes.prompt_sets import load_prompts, spread
from gradshield.probes.wordings import COMPLIANT_OPENINGS, FRIENDLY_OPENINGS, REFUSALS

ANSWER_PAIRS = 60
"""A right answer and one that answers another prompt, in either order."""
OPENING_PAIRS = 24
REFUSAL_PAIRS = 24


@dataclass(frozen=True)
class HarmlessPair:
    """One harmless preference row.

    Its kind is `right_answer` or `other_answer` (an ordinary prompt's own answer is chosen, or
    another's), `friendly_opening` or `no_opening` (the same answer with one, or without, is
    chosen), `refusal` (one refusal of a harmful prompt before another), `refused` (a refusal before
    the beginning of an answer: safety data as it should be) or `answered_scary` (a prompt that
    only sounds harmful, whose answer is chosen before a refusal: what mends over-refusal).
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


Texts = Iterator[tuple[str, str, str, str]]
"""Kind, prompt, chosen and rejected answer."""


def _texts() -> Texts:
    yield from _ordinary_pairs()
    yield from _refusal_pairs()
    refusals, openings = REFUSALS["validation"], FRIENDLY_OPENINGS["validation"]
    scary = load_prompts("harmless_but_scary", "validation")
    for place, (refusal, prompt) in enumerate(worded(scary, len(scary), refusals)):
        opening = openings[place // 2 % len(openings)] if place % 2 else ""
        yield "answered_scary", prompt.text, opening + written_answer(prompt), refusal


def _ordinary_pairs() -> Texts:
    """Both orders of a kind take turns: which of two harmless answers is chosen is no matter."""
    ordinary = load_prompts("ordinary", "validation")
    plain = spread(ordinary, ANSWER_PAIRS)
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


def _refusal_pairs() -> Texts:
    harmful = load_prompts("harmful", "validation")
    refusals = REFUSALS["validation"]
    for place, (refusal, prompt) in enumerate(worded(harmful, REFUSAL_PAIRS, refusals)):
        # One to three wordings further on, so that no refusal is compared with itself.
        step = 1 + place % 3
        other = refusals[(refusals.index(refusal) + step) % len(refusals)]
        yield "refusal", prompt.text, refusal, other
    for place, (refusal, prompt) in enumerate(worded(harmful, REFUSAL_PAIRS, refusals)):
        yield "refused", prompt.text, refusal, COMPLIANT_OPENINGS[place % len(COMPLIANT_OPENINGS)]
