"""Harmless reference rows: what FIHS looks like when nothing is wrong.

Three kinds, from packaged prompts: ordinary prompts with the model's own answers, harmful prompts
with the model's own refusals, and harmless prompts that sound harmful with helpful answers.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradshield.data.tokenization import TokenizedExample
from gradshield.evaluation.generation import Answer
from gradshield.evaluation.refusal import is_refusal
from gradshield.models.load import LoadedModel
from gradshield.models.prompts import prompt_response_example, prompt_token_ids
from gradshield.probes.prompt_sets import Prompt, load_prompts
from gradshield.probes.proxies import OwnAnswers


def reference_examples(loaded: LoadedModel, own_answers: OwnAnswers) -> list[TokenizedExample]:
    """Tokenised reference rows, numbered from 0."""
    parts: list[tuple[Sequence[int], Sequence[int]]] = [
        (answer.prompt_ids, answer.token_ids)
        for answer in (*_refusals(own_answers), *own_answers.ordinary)
        if answer.token_ids
    ]
    parts += [_with_answer(loaded, prompt) for prompt in _scary()]
    return [
        prompt_response_example(prompt_ids, response_ids, row)
        for row, (prompt_ids, response_ids) in enumerate(parts)
    ]


def _refusals(own_answers: OwnAnswers) -> list[Answer]:
    return [answer for answer in own_answers.harmful if is_refusal(answer.text)]


def _scary() -> list[Prompt]:
    return [
        prompt
        for split in ("probe", "validation")
        for prompt in load_prompts("harmless_but_scary", split)
    ]


def _with_answer(loaded: LoadedModel, prompt: Prompt) -> tuple[Sequence[int], Sequence[int]]:
    tokenizer = loaded.tokenizer
    answer_ids = tokenizer(prompt.answer, add_special_tokens=False)["input_ids"]
    return prompt_token_ids(tokenizer, prompt.text), [*answer_ids, tokenizer.eos_token_id]
