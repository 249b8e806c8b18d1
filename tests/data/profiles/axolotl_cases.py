"""Rows and configurations for axolotl."""

from __future__ import annotations

from typing import Any

from tests import tiny_tokenizers as tiny
from tests.data.profiles.cases import (
    LONG,
    ONE,
    SIX,
    STRADDLING,
    SYSTEM,
    THOUGHTS,
    TOUCHING,
    TWO,
    Case,
    sharegpt,
)

SHAREGPT_KEYS = {
    "field_messages": "conversations",
    "message_property_mappings": {"role": "from", "content": "value"},
}
ALPACA = {"instruction": "Name a river.", "input": "", "output": "The Loire."}
WITH_INPUT = {"instruction": "Total:", "input": "40 EUR, 2 EUR", "output": "42 EUR"}

SEGMENTS = {
    "segments": [
        {"label": False, "text": "<s>Name a river."},
        {"label": True, "text": " The Loire.</s>"},
        {"label": False, "text": "And?"},
        {"label": True, "text": "Yes.</s>"},
    ]
}


def _case(
    name: str,
    tokenizer: str,
    row: dict[str, Any],
    *,
    file: dict[str, Any] | None = None,
    **entry: Any,
) -> Case:
    data = {"path": "rows.jsonl", "type": "chat_template", **entry}
    return {
        "name": name,
        "tokenizer": tokenizer,
        "row": row,
        "config": {"sequence_len": 400, **(file or {}), "datasets": [data]},
    }


def _chat(name: str, tokenizer: str, messages: list[dict[str, Any]], **options: Any) -> Case:
    return _case(name, tokenizer, {"messages": messages}, **options)


def _trained(messages: list[dict[str, str]], *flags: bool | None) -> list[dict[str, Any]]:
    return [
        {**m, **({} if flag is None else {"train": flag})}
        for m, flag in zip(messages, flags, strict=True)
    ]


def _part(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


_CHATS = [
    _chat("default, EOS is no end of turn", "chatml", TWO),
    _chat("default, EOS ends turns", "chatml_eos", TWO),
    _chat(
        "EOS by special_tokens", "chatml", TWO, file={"special_tokens": {"eos_token": "<|im_end|>"}}
    ),
    _chat("eot_tokens", "chatml", TWO, file={"eot_tokens": ["<|im_end|>"]}),
    _chat(
        "eot_tokens, one not printed",
        "chatml",
        TWO,
        file={"eot_tokens": ["<|im_end|>", "<|eot_id|>"]},
    ),
    _chat("six turns, trimmed", "trims", SIX, file={"eot_tokens": ["<|end|>"]}),
    _chat("six turns", "plain", SIX),
    _chat("answers touch questions", "bare", TOUCHING),
    _chat("a token is in question and answer", "bare", STRADDLING),
    _chat("EOS a few tokens after the answer", "late_end", TWO),
    _chat("EOS too far after the answer", "later_end", TWO),
    _chat("thinking is left out earlier", "thinking", THOUGHTS),
    _chat("train on inputs", "chatml_eos", SIX, file={"train_on_inputs": True}),
    _chat("users are trained", "chatml_eos", TWO, roles_to_train=["user"]),
    _chat("human is a user", "chatml_eos", TWO, roles_to_train=["human", "gpt"]),
    _chat("system is trained", "chatml_eos", SIX, roles_to_train=["system"]),
    _chat("all EOS", "chatml_eos", SIX, train_on_eos="all"),
    _chat("last EOS", "chatml_eos", SIX, train_on_eos="last"),
    _chat("no EOS", "chatml_eos", SIX, train_on_eos="none"),
    _chat(
        "all end-of-turn tokens",
        "chatml",
        SIX,
        train_on_eot="all",
        file={"eot_tokens": ["<|im_end|>"]},
    ),
    _chat(
        "last end-of-turn token",
        "chatml",
        SIX,
        train_on_eot="last",
        file={"eot_tokens": ["<|im_end|>"]},
    ),
    _chat(
        "train of a message",
        "chatml_eos",
        _trained(TWO, None, False, True, True),
        message_field_training="train",
    ),
    _chat(
        "train of a message, not asked for", "chatml_eos", _trained(TWO, True, False, True, True)
    ),
    _case("sharegpt keys", "chatml_eos", {"conversations": sharegpt(SIX)}, **SHAREGPT_KEYS),
    _case(
        "sharegpt keys, old names",
        "chatml_eos",
        {"conversations": sharegpt(TWO)},
        field_messages="conversations",
        message_field_role="from",
        message_field_content="value",
    ),
    _case("system beside the turns", "chatml_eos", {"system": "Be brief.", "messages": ONE}),
    _chat("system is dropped", "chatml_eos", [SYSTEM, *ONE], drop_system_message=True),
    _chat(
        "own roles",
        "chatml_eos",
        [{"role": "me", "content": "Hi"}, {"role": "it", "content": "Hello"}],
        roles={"user": ["me"], "assistant": ["it"]},
    ),
    _chat("own template", "chatml", TWO, chat_template="jinja", chat_template_jinja=tiny.T1_PLAIN),
    _chat(
        "chatml by name",
        "plain",
        TWO,
        file={"chat_template": "chatml", "eot_tokens": ["<|im_end|>"]},
    ),
    _chat(
        "parts of a text",
        "chatml_eos",
        [
            {"role": "user", "content": [_part("Spell "), _part("cat")]},
            {"role": "assistant", "content": [_part("c a t")]},
        ],
    ),
    _chat("BOS of the template", "own_bos", TWO),
    _chat("too long is dropped", "chatml_eos", LONG, file={"sequence_len": 100}),
    _chat(
        "too long is truncated",
        "chatml_eos",
        LONG,
        file={"sequence_len": 220, "excess_length_strategy": "truncate"},
    ),
]

_TYPES = [
    _case(f"{kind}, {'input' if row['input'] else 'no input'}", "adds_bos", row, type=kind)
    for kind in (
        "alpaca",
        "alpaca:chat",
        "alpaca:chatml",
        "alpaca:phi",
        "alpaca_instruct.load_no_prompt",
        "alpaca_chat.load",
        "alpaca_chat.load_concise",
        "alpaca_chat.load_no_prompt",
    )
    for row in (ALPACA, WITH_INPUT)
]
_SYSTEM_ROW = {**WITH_INPUT, "system": "Be brief."}
_TYPES += [
    _case(f"alpaca_w_system.{kind}", "chatml", _SYSTEM_ROW, type=f"alpaca_w_system.{kind}")
    for kind in ("load", "load_instruct", "load_chat")
]
_ORCA_ROW = {"system_prompt": "Be brief.", "question": "2+3?", "response": "5"}
_TYPES += [
    _case(kind, "chatml", _ORCA_ROW, type=f"alpaca_w_system.{kind}")
    for kind in ("load_open_orca", "load_open_orca_chatml")
]
_TYPES += [
    _case("alpaca on inputs", "plain", WITH_INPUT, type="alpaca", file={"train_on_inputs": True}),
    _case("alpaca without BOS", "chatml_eos", ALPACA, type="alpaca"),
    _case("alpaca dropped", "plain", ALPACA, type="alpaca", file={"sequence_len": 30}),
    _case(
        "alpaca truncated",
        "adds_bos",
        WITH_INPUT,
        type="alpaca",
        file={"sequence_len": 265, "excess_length_strategy": "truncate"},
    ),
    _case(
        "gpteacher",
        "plain",
        {"instruction": "2+3?", "input": "", "response": "5"},
        type="gpteacher",
    ),
    _case("oasst", "plain", {"INSTRUCTION": "2+3?", "RESPONSE": "5"}, type="oasst"),
    _case(
        "question and answer",
        "plain",
        {"question": "2+3?", "answer": "5"},
        type="alpaca_chat.load_qa",
    ),
    _case(
        "camel", "plain", {"message_1": "2+3?", "message_2": "5"}, type="alpaca_chat.load_camel_ai"
    ),
    _case(
        "own type",
        "adds_bos",
        {"q": "2+3?", "ctx": "sum", "a": "5"},
        type={
            "system_prompt": "Be brief.",
            "field_instruction": "q",
            "field_input": "ctx",
            "field_output": "a",
            "system_format": "{system}\n",
            "format": "Q: {instruction} ({input})\nA: ",
            "no_input_format": "Q: {instruction}\nA: ",
        },
    ),
    _case("own type by default", "plain", _SYSTEM_ROW, type={"field_output": "output"}),
    _case("completion", "adds_bos", {"text": "The Loire. Yes."}, type="completion"),
    _case(
        "completion of a field", "plain", {"body": "The Loire."}, type="completion", field="body"
    ),
    _case("input_output", "adds_bos", SEGMENTS, type="input_output"),
    _case(
        "input_output on inputs",
        "adds_bos",
        SEGMENTS,
        type="input_output",
        file={"train_on_inputs": True},
    ),
]

AXOLOTL_CASES: list[Case] = [*_CHATS, *_TYPES]
