"""Tokenizers and rows of the golden masks, shared by the tests and `make_golden.py`."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from typing import Any

from transformers import PreTrainedTokenizerFast

from tests import tiny_tokenizers as tiny

EXTRA_TOKENS = (
    "<|im_start|>",
    "<|im_end|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "[INST]",
    "[/INST]",
)
GENERATION_MARKS = (
    "{% for m in messages %}<|{{ m.role }}|>"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|end|>{% endgeneration %}"
    "{% else %}{{ m.content }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
OWN_SYSTEM = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
    + tiny.CHATML
)


@lru_cache
def tokenizer(name: str) -> PreTrainedTokenizerFast:
    """A tokenizer of the cases; shared, do not change it."""
    templates = {
        "chatml": tiny.CHATML,
        "chatml_eos": tiny.CHATML,
        "own_system": OWN_SYSTEM,
        "plain": tiny.T1_PLAIN,
        "trims": tiny.T3_TRIMS,
        "own_bos": tiny.T4_OWN_BOS,
        "adds_bos": tiny.CHATML,
        "thinking": tiny.T5_THINKING,
        "bare": tiny.BARE,
        "marks": GENERATION_MARKS,
        "late_end": tiny.CHATML.replace("<|im_end|>", "\n-<|im_end|>"),
        "later_end": tiny.CHATML.replace("<|im_end|>", "\n - - - - <|im_end|>"),
    }
    made = tiny.byte_level_tokenizer(
        templates[name], adds_bos=name in ("own_bos", "adds_bos"), extra_tokens=EXTRA_TOKENS
    )
    if name in ("chatml_eos", "late_end", "later_end"):
        made.eos_token = "<|im_end|>"
    return made


def vocabulary_sha256() -> str:
    """Changes if the tiny tokenizers are not the ones that the golden masks were made with."""
    vocabulary = sorted(tokenizer("plain").get_vocab().items())
    return hashlib.sha256(json.dumps(vocabulary).encode()).hexdigest()


def turns(*contents: str, roles: tuple[str, str] = ("user", "assistant")) -> list[dict[str, str]]:
    """Turns that alternate."""
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(contents)]


SYSTEM = {"role": "system", "content": "Be brief."}
ONE = turns("Name a river.", "The Loire.")
TWO = turns("Name a river.", "The Loire.", "Another one?", "Yes. Yes.")
SIX = [
    SYSTEM,
    *turns("Is it wet?", "Yes.", "Is it dry?", "  indented\n", "Again: wet?", "Yes."),
]
THOUGHTS = turns(
    "Sum 4 and 9?",
    "<think>\nfour plus nine\n</think>\n\n13",
    "Double it",
    "<think>\nx2\n</think>\n\n26",
)
TOUCHING = turns("Reply as file", ".json")
STRADDLING = turns("Total: ", "42 EUR")
LONG = turns("List the months, please, in order. " * 6, "January, February, March. " * 5)
LONG_TWO = turns(
    "First question? " * 5, "First answer. " * 8, "Second? " * 4, "Second answer. " * 9
)


def sharegpt(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """The same turns under other keys."""
    names = {"user": "human", "assistant": "gpt", "system": "system"}
    return [{"from": names[m["role"]], "value": m["content"]} for m in messages]


Case = dict[str, Any]
