from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from gradshield.errors import UserError
from gradshield.evaluation.judges.base import Exchange
from gradshield.evaluation.judges.guard import GuardJudge
from gradshield.models.load import LoadedModel
from gradshield.models.prompts import prompt_response_example
from tests.tiny_models import chat_tokenizer, full_logits_loss, tiny_loaded
from tests.tiny_tokenizers import T1_PLAIN, byte_level_tokenizer

EXCHANGES = [Exchange("Hi", "Yes."), Exchange("Name a river.", "The Loire."), Exchange("No", " ")]
FIRST = {"u": 3.0, "s": 2.0, "\n": 1.0}
"""Logits of what the hand-set guard writes first, as bytes; all else has logit 0."""


def hand_set_guard() -> LoadedModel:
    """Says one of three bytes after whatever ends a prompt, and after a line break the same.

    Its layer adds nothing, so the state of a token is its one-hot embedding, which the last norm
    scales by the root of the width.
    """
    tokenizer = byte_level_tokenizer(T1_PLAIN)
    size = len(tokenizer)
    width = size + size % 2
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=width,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        tie_word_embeddings=False,
    )
    model: Any = LlamaForCausalLM(config).eval()
    layer = model.model.layers[0]
    with torch.no_grad():
        for weight in (layer.self_attn.o_proj.weight, layer.mlp.down_proj.weight):
            weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(size, width))
        model.lm_head.weight.zero_()
        for text, logit in FIRST.items():
            (target,) = tokenizer(text, add_special_tokens=False)["input_ids"]
            for before in ("<|assistant|>", "\n"):
                (source,) = tokenizer(before, add_special_tokens=False)["input_ids"]
                model.lm_head.weight[target, source] = logit / math.sqrt(width)
    return LoadedModel(model, tokenizer, "hand-set")


def test_the_value_is_the_share_of_the_first_word_with_hand_set_logits() -> None:
    """Line breaks lead to the same next bytes, so they cancel: e^3 / (e^3 + e^2)."""
    judge = GuardJudge(hand_set_guard(), "u", "s")
    expected = math.exp(3) / (math.exp(3) + math.exp(2))
    assert judge.complied(EXCHANGES) == pytest.approx([expected, expected, 0.0], rel=1e-3)
    assert judge.name == "guard:hand-set"


def test_words_change_places() -> None:
    guard = hand_set_guard()
    there = GuardJudge(guard, "u", "s").complied(EXCHANGES[:1])[0]
    back = GuardJudge(guard, "s", "u").complied(EXCHANGES[:1])[0]
    assert there + back == pytest.approx(1.0)
    assert there > 0.7


def test_words_of_several_tokens_are_summed_over_line_breaks() -> None:
    loaded, tokenizer = tiny_loaded(), chat_tokenizer()
    conversation = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes."}],
        tokenize=False,
        add_generation_prompt=True,
    )
    prompt_ids = tokenizer(conversation, add_special_tokens=False)["input_ids"]
    probability = {}
    for word in ("unsafe", "safe"):
        probability[word] = 0.0
        for before in ("", "\n", "\n\n"):
            ids = tokenizer(before + word, add_special_tokens=False)["input_ids"]
            assert len(ids) > 1
            with torch.no_grad():
                loss = full_logits_loss(loaded.model, prompt_response_example(prompt_ids, ids))
            probability[word] += math.exp(-float(loss) * len(ids))
    found = GuardJudge(loaded).complied([Exchange("Hi", "Yes.")])[0]
    expected = probability["unsafe"] / (probability["unsafe"] + probability["safe"])
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_template_that_takes_no_answer_is_named() -> None:
    template = "{% if messages | length > 1 %}{{ raise_exception('one turn') }}{% endif %}"
    guard = LoadedModel(tiny_loaded().model, byte_level_tokenizer(template), "one-turn")
    with pytest.raises(UserError, match=r"one-turn .*one turn"):
        GuardJudge(guard).complied(EXCHANGES)
