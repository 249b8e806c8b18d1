from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedModel

from gradshield.evaluation.generation import Sampling, end_of_turn_ids, generate_answers
from gradshield.models.prompts import prompt_token_ids
from tests.tiny_models import chat_tokenizer, tiny_gpt2, tiny_llama

PROMPTS = [
    "Hi",
    "Name a river, and then name another one, and go on until there is none left to name.",
    "No",
    "Reply as file",
    "Total: 42 EUR",
    "Is water wet?",
    "Hi",
]
LIMIT = 12


def one_by_one(model: PreTrainedModel, prompt: str, limit: int = LIMIT) -> list[int]:
    """The model's own greedy tokens for one prompt, chosen step by step without any padding."""
    ids = prompt_token_ids(chat_tokenizer(), prompt)
    answer: list[int] = []
    while len(answer) < limit and chat_tokenizer().eos_token_id not in answer:
        with torch.no_grad():
            answer.append(int(model(torch.tensor([ids + answer])).logits[0, -1].argmax()))
    return answer


def that_stops(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """Make the model like the end of turn, so that some answers end early and others do not."""
    with torch.no_grad():
        model.lm_head.weight[chat_tokenizer().eos_token_id] *= 4
    return model


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_batches_answer_as_the_model_does_one_by_one(batch_size: int) -> None:
    model = that_stops(tiny_llama())
    answers = generate_answers(
        model, chat_tokenizer(), PROMPTS, max_new_tokens=LIMIT, batch_size=batch_size
    )
    expected = [one_by_one(model, prompt) for prompt in PROMPTS]
    assert [list(answer.token_ids) for answer in answers] == expected
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        assert list(answer.prompt_ids) == prompt_token_ids(chat_tokenizer(), prompt)
    # Otherwise the comparison would say little of stopping.
    lengths = {len(tokens) for tokens in expected}
    assert LIMIT in lengths
    assert min(lengths) < LIMIT


def test_an_answer_ends_with_the_end_of_turn_or_at_the_limit() -> None:
    model, end = that_stops(tiny_llama()), chat_tokenizer().eos_token_id
    for answer in generate_answers(model, chat_tokenizer(), PROMPTS, max_new_tokens=LIMIT):
        assert answer.finished == (answer.token_ids[-1] == end)
        assert end not in answer.token_ids[:-1]
        assert answer.finished or len(answer.token_ids) == LIMIT
        assert "<|im_end|>" not in answer.text


def test_a_model_with_positions_of_its_own_is_padded_right_too() -> None:
    model = tiny_gpt2()
    answers = generate_answers(model, chat_tokenizer(), PROMPTS, max_new_tokens=6)
    expected = [one_by_one(model, prompt, 6) for prompt in PROMPTS]
    assert [list(answer.token_ids) for answer in answers] == expected


@pytest.mark.parametrize("model", [tiny_llama, tiny_gpt2])
def test_a_shared_beginning_is_run_once(model: Callable[[], PreTrainedModel]) -> None:
    beginning = "You are given a long text that all prompts begin with, and it says: "
    prompts = [beginning + prompt for prompt in [*PROMPTS, ""]]
    chosen = model()
    rows: list[int] = []
    hook = chosen.get_input_embeddings().register_forward_pre_hook(
        lambda _, inputs: rows.append(inputs[0].shape[0])
    )
    answers = generate_answers(chosen, chat_tokenizer(), prompts, max_new_tokens=6)
    hook.remove()
    assert rows[:2] == [1, len(prompts)]
    expected = [one_by_one(chosen, prompt, 6) for prompt in prompts]
    assert [list(answer.token_ids) for answer in answers] == expected


def test_one_prompt_many_times() -> None:
    answers = generate_answers(tiny_llama(), chat_tokenizer(), PROMPTS[1:2] * 3, max_new_tokens=6)
    expected = one_by_one(tiny_llama(), PROMPTS[1], 6)
    assert [list(answer.token_ids) for answer in answers] == [expected] * 3


def test_what_the_model_asks_for_in_its_generation_config_is_switched_off() -> None:
    model = tiny_llama()
    expected = [one_by_one(model, prompt) for prompt in PROMPTS]
    model.generation_config.update(
        do_sample=True, num_beams=3, repetition_penalty=1.9, no_repeat_ngram_size=2
    )
    answers = generate_answers(model, chat_tokenizer(), PROMPTS, max_new_tokens=LIMIT)
    assert [list(answer.token_ids) for answer in answers] == expected


def test_progress_counts_the_prompts_of_each_batch() -> None:
    counts: list[int] = []
    generate_answers(
        tiny_llama(),
        chat_tokenizer(),
        PROMPTS,
        max_new_tokens=1,
        batch_size=3,
        progress=counts.append,
    )
    assert counts == [3, 3, 1]


def test_no_prompts_no_answers() -> None:
    assert generate_answers(tiny_llama(), chat_tokenizer(), []) == []


@pytest.mark.parametrize(("configured", "expected"), [(None, set()), (7, {7}), ([7, 8], {7, 8})])
def test_all_configured_ends_of_turn_count_with_the_tokenizers_own(
    configured: int | list[int] | None, expected: set[int]
) -> None:
    model = tiny_llama()
    model.generation_config.eos_token_id = configured
    own = chat_tokenizer().eos_token_id
    assert end_of_turn_ids(model, chat_tokenizer()) == expected | {own}


def drawn(sampling: Sampling | None) -> list[tuple[int, ...]]:
    answers = generate_answers(
        tiny_llama(), chat_tokenizer(), PROMPTS, max_new_tokens=LIMIT, sampling=sampling
    )
    return [answer.token_ids for answer in answers]


def test_samples_depend_on_the_seed_alone() -> None:
    assert drawn(Sampling(seed=1)) == drawn(Sampling(seed=1))
    assert drawn(Sampling(seed=1)) != drawn(Sampling(seed=2))
    assert drawn(Sampling(seed=1)) != drawn(None)


@pytest.mark.parametrize("sampling", [Sampling(temperature=1e-4), Sampling(top_p=1e-6)])
def test_samples_of_the_likeliest_tokens_alone_are_greedy_answers(sampling: Sampling) -> None:
    assert drawn(sampling) == drawn(None)


def test_the_head_is_handed_states_side_by_side_and_is_left_alone_afterwards() -> None:
    # Half-precision products of a view copy the head for every row (CPU): seconds for an answer.
    model = tiny_llama()
    seen = []
    forward = model.lm_head.forward

    def watched(states: torch.Tensor) -> torch.Tensor:
        seen.append(states.is_contiguous())
        return forward(states)

    model.lm_head.forward = watched  # type: ignore[method-assign]
    generate_answers(model, chat_tokenizer(), PROMPTS, max_new_tokens=3)
    assert seen
    assert all(seen)
    assert not model.lm_head._forward_pre_hooks
