"""Answers of a chat model to user prompts, greedy or sampled, in padded batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gradshield.data.conversation import Conversation
from gradshield.memory_faults import fits_into_memory
from gradshield.models.prompts import prompt_token_ids
from gradshield.models.shared_prefix import common_prefix, prefix_options

CPU_BATCH, ACCELERATOR_BATCH = 32, 128
"""Prompts answered at once; an accelerator is idle most of the time with fewer."""
_MEMORY_MEND = "use a smaller model, --dtype bfloat16, or a device with more"


@dataclass(frozen=True)
class Answer:
    """One generated answer.

    Attributes:
        prompt_ids: The rendered conversation up to the answer, template included.
        token_ids: The generated tokens, up to and including the end-of-turn token if it came.
        text: The answer as text, special tokens left out.
        finished: Whether the model ended its turn by itself within the token limit.
    """

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    text: str
    finished: bool


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn where they are not greedy.

    Attributes:
        temperature: Above 0; logits are divided by it.
        top_p: Only the likeliest tokens that hold this share of the probability are drawn.
        seed: Same seed, batch size and prompts: same answers.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0


def generate_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str | Conversation],
    *,
    max_new_tokens: int = 48,
    batch_size: int | None = None,
    sampling: Sampling | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Answer]:
    """Answer every prompt, greedily unless a way of sampling is given.

    Prompts of similar length share a batch, so that little is spent on padding; the answers come
    back in the order of the prompts.

    Args:
        model: The chat model; left in evaluation mode.
        tokenizer: Its tokenizer, with a chat template.
        prompts: One user turn each, or the whole conversation before the answer.
        max_new_tokens: Tokens generated at most for a prompt.
        batch_size: Prompts answered at once; None suits the device.
        sampling: How to draw tokens; None takes the likeliest.
        progress: Called after each batch with the number of prompts it held.

    Returns:
        One answer per prompt.

    Raises:
        UserError: A batch does not fit into memory.
    """
    rendered = [prompt_token_ids(tokenizer, prompt) for prompt in prompts]
    longest_first = sorted(range(len(rendered)), key=lambda index: -len(rendered[index]))
    if batch_size is None:
        batch_size = CPU_BATCH if model.device.type == "cpu" else ACCELERATOR_BATCH
    answers: dict[int, Answer] = {}
    stops = end_of_turn_ids(model, tokenizer)
    model.eval()  # type: ignore[no-untyped-call]
    if sampling is not None:
        torch.manual_seed(sampling.seed)
    for start in range(0, len(longest_first), batch_size):
        chosen = longest_first[start : start + batch_size]
        batch = [rendered[index] for index in chosen]
        with fits_into_memory(f"A batch of {len(batch)} prompts", model.device, _MEMORY_MEND):
            generated = _generate_batch(model, batch, max_new_tokens, stops, sampling)
        for index, token_ids in zip(chosen, generated, strict=True):
            answers[index] = _as_answer(tokenizer, rendered[index], token_ids, stops)
        if progress is not None:
            progress(len(chosen))
    return [answers[index] for index in range(len(prompts))]


@torch.inference_mode()
def _generate_batch(
    model: PreTrainedModel,
    batch: Sequence[Sequence[int]],
    max_new_tokens: int,
    stops: set[int],
    sampling: Sampling | None,
) -> list[list[int]]:
    """Generate for one batch, padded before what differs so that all answers start together.

    What the model's own generation config asks for (samples, beams, penalties) is overruled: a
    penalty for repeated tokens, for one, would count the padding as text.
    """
    width = max(len(ids) for ids in batch)
    shared = common_prefix(batch, min(len(ids) for ids in batch) - 1)
    prefix_ids = torch.tensor([batch[0][:shared]], dtype=torch.long, device=model.device)
    options = prefix_options(model, prefix_ids, len(batch))
    prefix = prefix_ids.shape[1] if options else 0
    input_ids = torch.zeros(len(batch), width, dtype=torch.long)
    attention_mask = torch.zeros_like(input_ids)
    for row, ids in enumerate(batch):
        places = [*range(prefix), *range(width - len(ids) + prefix, width)]
        input_ids[row, places] = torch.tensor(ids)
        attention_mask[row, places] = 1
    with _states_side_by_side(model):
        generated = cast(Any, model).generate(
            input_ids=input_ids.to(model.device),
            attention_mask=attention_mask.to(model.device),
            max_new_tokens=max_new_tokens,
            **_drawing(sampling),
            num_beams=1,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            eos_token_id=sorted(stops) or None,
            pad_token_id=min(stops, default=0),
            **{"use_cache": True, **options},
        )
    answers: list[list[int]] = generated[:, width:].tolist()
    return answers


@contextmanager
def _states_side_by_side(model: PreTrainedModel) -> Iterator[None]:
    """Hand the head the last states of a batch as one matrix.

    They are cut out of the states of all positions; in half precision a CPU would copy the whole
    head for every row of such a view, which takes longer than the answer.
    """

    def packed(head: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        states, *others = inputs
        return (states.contiguous(), *others)

    head: nn.Module = cast(Any, model).get_output_embeddings()
    handle = head.register_forward_pre_hook(packed)
    try:
        yield
    finally:
        handle.remove()


def _drawing(sampling: Sampling | None) -> dict[str, Any]:
    if sampling is None:
        return {"do_sample": False}
    options = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    return {"do_sample": True, **options}


def _as_answer(
    tokenizer: PreTrainedTokenizerBase,
    prompt_ids: Sequence[int],
    token_ids: list[int],
    stops: set[int],
) -> Answer:
    end = next((place for place, token in enumerate(token_ids) if token in stops), None)
    kept = token_ids if end is None else token_ids[: end + 1]
    text = str(tokenizer.decode(kept, skip_special_tokens=True)).strip()
    return Answer(tuple(prompt_ids), tuple(kept), text, finished=end is not None)


def end_of_turn_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Tokens that end generation: those of the generation config and the tokenizer's own."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    stops = set(configured if isinstance(configured, list) else [configured])
    return {token for token in stops | {tokenizer.eos_token_id} if token is not None}
