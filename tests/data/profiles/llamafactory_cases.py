"""Rows, data set entries and training settings for LLaMA-Factory."""

from __future__ import annotations

from typing import Any

from tests.data.profiles.cases import (
    LONG,
    LONG_TWO,
    ONE,
    SIX,
    THOUGHTS,
    TWO,
    Case,
    sharegpt,
    turns,
)

SHAREGPT: dict[str, Any] = {"file_name": "rows.json", "formatting": "sharegpt"}
MESSAGES: dict[str, Any] = {
    **SHAREGPT,
    "columns": {"messages": "messages"},
    "tags": {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "system_tag": "system",
    },
}
ALPACA: dict[str, Any] = {"file_name": "rows.json"}
ALPACA_ROW = {"instruction": "Total:", "input": "40 EUR, 2 EUR", "output": "42 EUR"}


def _case(
    name: str,
    row: dict[str, Any],
    info: dict[str, Any] = SHAREGPT,
    tokenizer: str = "chatml",
    **training: Any,
) -> Case:
    return {
        "name": name,
        "tokenizer": tokenizer,
        "row": row,
        "dataset_info": info,
        "training": {"template": "llama3", "cutoff_len": 400, **training},
    }


def _chat(name: str, messages: list[dict[str, str]], **options: Any) -> Case:
    return _case(name, {"conversations": sharegpt(messages)}, **options)


_BY_TEMPLATE = [
    _chat(f"{template}, {len(messages)} turns", messages, template=template)
    for template in (
        "llama3",
        "llama2",
        "qwen",
        "qwen3",
        "qwen3_nothink",
        "chatml",
        "default",
        "empty",
        "mistral",
        "gemma",
        "alpaca",
        "vicuna",
        "zephyr",
        "deepseek",
        "yi",
    )
    for messages in (TWO, SIX)
]

_FORMATS = [
    _case("alpaca", ALPACA_ROW, ALPACA),
    _case("alpaca without input", {**ALPACA_ROW, "input": ""}, ALPACA),
    _case(
        "alpaca with columns",
        {"q": "2+3?", "ctx": "sum", "a": "5", "sys": "Be brief.", "before": [["Hi", "Hello"]]},
        {
            **ALPACA,
            "columns": {
                "prompt": "q",
                "query": "ctx",
                "response": "a",
                "system": "sys",
                "history": "before",
            },
        },
    ),
    _case(
        "alpaca, a column that is not named",
        ALPACA_ROW,
        {**ALPACA, "columns": {"prompt": "instruction", "response": "output"}},
    ),
    _case("messages by tags", {"messages": SIX}, MESSAGES),
    _case("openai", {"messages": SIX}, {**MESSAGES, "formatting": "openai"}),
    _case("openai without system", {"messages": ONE}, {**MESSAGES, "formatting": "openai"}),
    _case(
        "system column",
        {"conversations": sharegpt(TWO), "system": "Be brief."},
        {**SHAREGPT, "columns": {"messages": "conversations", "system": "system"}},
    ),
    _chat("ends with a question", turns("Hi", "Hello", "And?")),
    _chat("two users in a row", [*turns("Hi"), *ONE]),
]

_SETTINGS = [
    _chat("train on prompt", SIX, train_on_prompt=True),
    _chat("mask history", SIX, mask_history=True),
    _chat("default system", TWO, default_system="Be kind."),
    _chat("no default system of the template", TWO, template="qwen", default_system=""),
    _chat("short answer, prompt is cut", LONG, cutoff_len=160),
    _chat("short prompt, answer is cut", turns("Hi", "No. " * 60), cutoff_len=80),
    _chat("both are cut", LONG, cutoff_len=60),
    _chat("second pair is cut", LONG_TWO, cutoff_len=220),
    _chat("second pair finds no room", LONG_TWO, cutoff_len=100),
    _chat("last pair first", LONG_TWO, cutoff_len=220, mask_history=True),
    _chat("last pair only", LONG_TWO, cutoff_len=100, mask_history=True),
    _chat("EOS at the end only", ONE, template="gemma2"),
    _chat("EOS at the end only, cut", LONG, template="gemma2", cutoff_len=60),
    _chat("thoughts", THOUGHTS, template="qwen3"),
    _chat("thoughts, history masked", THOUGHTS, template="qwen3", mask_history=True),
    _chat(
        "thoughts, kept in history",
        THOUGHTS,
        template="qwen3",
        mask_history=True,
        preserve_thinking=True,
    ),
    _chat("thinking disabled", THOUGHTS, template="qwen3", enable_thinking=False),
    _chat("no thoughts, thinking disabled", TWO, template="qwen3", enable_thinking=False),
    _chat("no thoughts, history masked", TWO, template="qwen3", mask_history=True),
    _chat("thoughts without a reasoning template", THOUGHTS, template="qwen"),
]

_OWN_TEMPLATES = [
    _chat(f"the tokenizer's template, {name}", messages, tokenizer=name, template=None)
    for name in ("chatml", "plain", "own_bos", "own_system", "adds_bos")
    for messages in (TWO, SIX)
]

LLAMAFACTORY_CASES: list[Case] = [*_BY_TEMPLATE, *_FORMATS, *_SETTINGS, *_OWN_TEMPLATES]
