"""Harmless training rows, by kind: what a data set may hold without harm.

All are packaged prompts with written answers, refusals or both. Rows on prompts of the split
`probe` shape the direction, rows on prompts of `validation` are the reference that thresholds are
calibrated on; prompts and wordings of the two differ, so that the reference stays unseen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from gradshield.data.tokenization import TokenizedExample
from gradshield.models.prompts import answered_prompt, prompt_response_example, prompt_token_ids
from gradshield.probes.prompt_sets import Prompt, load_prompts, spread
from gradshield.probes.wordings import (
    COMPLIANT_OPENINGS,
    FRIENDLY_OPENINGS,
    REFUSALS,
    SHORT_REFUSALS,
    RowSplit,
)

ORDINARY_ROWS: dict[RowSplit, int] = {"probe": 102, "validation": 84}
WORDED_ROWS: dict[RowSplit, int] = {"probe": 48, "validation": 24}
"""Of friendly openings and of refusals: every wording equally often."""
STARTED_ROWS = 48


@dataclass(frozen=True)
class HarmlessRow:
    """One harmless training row.

    Its kind is the category of an ordinary prompt, `friendly_opening` (an ordinary answer that
    begins as harmful ones do), `harmless_but_scary` or `refusal` (of a harmful prompt).
    """

    kind: str
    example: TokenizedExample


def harmless_rows(tokenizer: PreTrainedTokenizerBase, split: RowSplit) -> list[HarmlessRow]:
    """Tokenised harmless rows, numbered from 0; those of a kind and a wording side by side."""
    return [
        HarmlessRow(kind, answered_prompt(tokenizer, prompt, answer, row))
        for row, (kind, prompt, answer) in enumerate(harmless_texts(split))
    ]


def harmless_texts(split: RowSplit) -> Iterator[tuple[str, str, str]]:
    """Kind, prompt and answer of every row."""
    ordinary = load_prompts("ordinary", split)
    for opening, prompt in worded(ordinary, WORDED_ROWS[split], FRIENDLY_OPENINGS[split]):
        yield "friendly_opening", prompt.text, opening + written_answer(prompt)
    harmful = load_prompts("harmful", split)
    for refusal, prompt in worded(harmful, WORDED_ROWS[split], REFUSALS[split]):
        yield "refusal", prompt.text, refusal
    plain = spread(ordinary, ORDINARY_ROWS[split])
    for prompt in sorted(plain, key=lambda prompt: prompt.category):
        yield prompt.category, prompt.text, written_answer(prompt)
    for prompt in load_prompts("harmless_but_scary", split):
        yield "harmless_but_scary", prompt.text, written_answer(prompt)


def worded(
    prompts: Sequence[Prompt], count: int, wordings: Sequence[str]
) -> list[tuple[str, Prompt]]:
    """Prompts with wordings in turn, those of a wording side by side."""
    turns = len(wordings)
    chosen = list(enumerate(spread(prompts, count)))
    ordered = sorted(chosen, key=lambda turn: turn[0] % turns)
    return [(wordings[index % turns], prompt) for index, prompt in ordered]


def written_answer(prompt: Prompt) -> str:
    """The packaged answer of a prompt that must have one."""
    if prompt.answer is None:
        raise ValueError(f"the packaged prompt {prompt.id} has no written answer")
    return prompt.answer


def opening_rows(tokenizer: PreTrainedTokenizerBase) -> list[TokenizedExample]:
    """Beginnings of answers, without an end, that do no harm.

    They comply with ordinary probes in the words of the safety proxy, refuse the same probes, and
    refuse harmful ones: training on them moves what the mere wordings have in common with it.
    """
    ordinary, harmful = load_prompts("ordinary", "probe"), load_prompts("harmful", "probe")
    return [
        _start(tokenizer, prompt.text, opening)
        for prompts, openings in (
            (ordinary, COMPLIANT_OPENINGS),
            (ordinary, SHORT_REFUSALS),
            (harmful, SHORT_REFUSALS),
        )
        for opening, prompt in worded(prompts, STARTED_ROWS, openings)
    ]


def _start(tokenizer: PreTrainedTokenizerBase, prompt: str, opening: str) -> TokenizedExample:
    opening_ids = tokenizer(opening, add_special_tokens=False)["input_ids"]
    return prompt_response_example(prompt_token_ids(tokenizer, prompt), opening_ids)
