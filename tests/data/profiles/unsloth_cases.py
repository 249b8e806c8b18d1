"""Rows and arguments for Unsloth's `train_on_responses_only`."""

from __future__ import annotations

from tests.data.profiles.cases import LONG, ONE, SIX, SYSTEM, TWO, Case, turns

CHATML_PARTS = {
    "instruction_part": "<|im_start|>user\n",
    "response_part": "<|im_start|>assistant\n",
}
PLAIN_PARTS = {"instruction_part": "<|user|>", "response_part": "<|assistant|>"}


def _case(name: str, tokenizer: str, messages: list[dict[str, str]], **arguments: object) -> Case:
    length = arguments.pop("max_length", None)
    return {
        "name": name,
        "tokenizer": tokenizer,
        "row": {"messages": messages},
        "arguments": arguments,
        "max_length": length,
    }


UNSLOTH_CASES: list[Case] = [
    _case("one exchange", "chatml", ONE, **CHATML_PARTS),
    _case("end of turn is EOS", "chatml_eos", TWO, **CHATML_PARTS),
    _case("end of turn is not EOS", "chatml", TWO, **CHATML_PARTS),
    _case("markers found from the template", "chatml", TWO),
    _case("markers found where EOS ends turns", "chatml_eos", SIX),
    _case("markers without text", "plain", SIX, **PLAIN_PARTS),
    _case("markers without text, found", "plain", SIX),
    _case("last response only", "chatml_eos", SIX, last_response_only=True, **CHATML_PARTS),
    _case("system turn in between", "chatml", [*ONE, SYSTEM, *ONE], **CHATML_PARTS),
    _case("ends with a question", "chatml", [*TWO, *turns("And?")], **CHATML_PARTS),
    _case("question only", "chatml", turns("And?"), **CHATML_PARTS),
    _case("BOS of the tokenizer", "adds_bos", TWO, **CHATML_PARTS),
    _case("BOS of both", "own_bos", TWO, **PLAIN_PARTS),
    _case("cut in the answer", "chatml", LONG, max_length=220, **CHATML_PARTS),
    _case("cut in the question", "chatml", LONG, max_length=40, **CHATML_PARTS),
    _case("answer that quotes a marker", "chatml", turns("Say it", "user\n"), **CHATML_PARTS),
]
