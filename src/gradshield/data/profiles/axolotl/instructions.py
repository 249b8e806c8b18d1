"""axolotl's row types that do not use a chat template: a prompt text, and a response after it.

The texts are axolotl's own, which the model is trained on to the letter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradshield.data.conversation import Rejection, check_encodable
from gradshield.data.errors import DataError
from gradshield.data.formats.base import missing_fields, read_text
from gradshield.data.profiles.base import LabelledTokens, needs_eos, plain_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Wording:
    """How a prompt is written.

    Attributes:
        turn: Text with `{instruction}` and `{input}`.
        turn_no_input: The same for a row without an input.
        system: Text with `{system}`.
    """

    turn: str
    turn_no_input: str
    system: str

    def write(self, instruction: str, given: str, system: str) -> str:
        """The prompt; `given` is the row's input, which may be empty, as may be the system text."""
        head = self.system.format(system=system) if system else ""
        if given:
            return head + self.turn.format(instruction=instruction, input=given)
        return head + self.turn_no_input.format(instruction=instruction)

    def check(self) -> None:
        """Try the texts.

        Raises:
            DataError: One of them names something that a row does not have.
        """
        try:
            self.write("a", "b", "c")
            self.write("a", "", "")
        except (AttributeError, IndexError, KeyError, ValueError) as fault:
            raise DataError(
                "the axolotl type's texts may name {instruction}, {input} and {system} only "
                f"({type(fault).__name__}: {fault})"
            ) from fault


@dataclass(frozen=True)
class InstructionType:
    """Which fields a row has, and how its prompt is written.

    Attributes:
        wording: The texts around the fields.
        instruction: Name of a field, as are `given` (optional) and `response`.
        system: Name of the field with the row's own system text, None if rows have none.
        system_text: What stands there for rows without one, or for all rows.
        system_text_no_input: The same for a row without an input, where it differs.
    """

    wording: Wording
    instruction: str = "instruction"
    given: str | None = "input"
    response: str = "output"
    system: str | None = None
    system_text: str = ""
    system_text_no_input: str | None = None
    needs_system: bool = False

    @property
    def fields(self) -> str:
        """The fields that a row needs, for messages."""
        return f"{self.instruction!r} and {self.response!r}"

    def prompt_and_response(self, row: dict[str, Any]) -> tuple[str, str]:
        """The two texts that are tokenised.

        Raises:
            Rejection: A field is missing or no text, or the response is empty.
        """
        needed = [self.instruction, self.response]
        needed += [self.system] if self.needs_system and self.system else []
        if any(row.get(field) is None for field in needed):
            raise missing_fields(row, " and ".join(map(repr, needed)))
        given = self._optional(row, self.given)
        system = self.system_text
        if not given and self.system_text_no_input is not None:
            system = self.system_text_no_input
        if self.system is not None and row.get(self.system) is not None:
            system = self._optional(row, self.system)
        instruction = read_text(row[self.instruction], repr(self.instruction))
        prompt = self.wording.write(instruction, given, system)
        response = read_text(row[self.response], repr(self.response))
        if not response.strip():
            raise Rejection(
                "empty_response", f"{self.response!r} has no text; fill it in or leave the row out"
            )
        return prompt, response

    def _optional(self, row: dict[str, Any], field: str | None) -> str:
        if field is None or row.get(field) is None:
            return ""
        return read_text(row[field], repr(field))


def instruction_encoder(
    kind: InstructionType, tokenizer: PreTrainedTokenizerBase, *, train_on_inputs: bool
) -> Callable[[dict[str, Any]], LabelledTokens]:
    """Prompt and response are tokenised apart, and the response ends with the EOS token."""
    kind.wording.check()
    eos = needs_eos(tokenizer, "axolotl")

    def encode(row: dict[str, Any]) -> LabelledTokens:
        prompt, response = kind.prompt_and_response(row)
        check_encodable(prompt + response, "the row")
        before = plain_ids(prompt, tokenizer, special=True) if prompt else []
        after = _ended(plain_ids(response, tokenizer, special=True), eos)
        after = after[1:] if after[0] == tokenizer.bos_token_id else after
        return LabelledTokens(before + after, [train_on_inputs] * len(before) + [True] * len(after))

    return encode


def text_encoder(
    field: str, tokenizer: PreTrainedTokenizerBase
) -> Callable[[dict[str, Any]], LabelledTokens]:
    """`type: completion`: one text with the EOS token after it, every token carries loss."""
    eos = needs_eos(tokenizer, "axolotl")

    def encode(row: dict[str, Any]) -> LabelledTokens:
        if row.get(field) is None:
            raise missing_fields(row, repr(field))
        text = read_text(row[field], repr(field))
        if not text.strip():
            raise Rejection("empty_response", f"{field!r} has no text; leave the row out")
        check_encodable(text, "the row")
        ids = _ended(plain_ids(text, tokenizer, special=True), eos)
        return LabelledTokens(ids, [True] * len(ids))

    return encode


def segments_encoder(
    tokenizer: PreTrainedTokenizerBase, *, train_on_inputs: bool
) -> Callable[[dict[str, Any]], LabelledTokens]:
    """`type: input_output`: `segments`, each with its `text` and whether it is a `label`."""

    def encode(row: dict[str, Any]) -> LabelledTokens:
        segments = row.get("segments")
        if not isinstance(segments, list):
            raise missing_fields(row, "'segments' (a list with 'text' and 'label')")
        ids: list[int] = []
        loss: list[bool] = []
        for number, segment in enumerate(segments, start=1):
            place = f"segment {number}"
            if not isinstance(segment, dict) or not isinstance(segment.get("label"), bool):
                raise Rejection("unsupported_content", f"{place} has no 'label' of true or false")
            text = read_text(segment.get("text"), f"'text' of {place}")
            check_encodable(text, place)
            piece = plain_ids(text, tokenizer)
            ids += piece
            loss += [segment["label"] or train_on_inputs] * len(piece)
        return LabelledTokens(ids, loss)

    return encode


def _ended(ids: list[int], eos: int) -> list[int]:
    return ids if ids and ids[-1] == eos else [*ids, eos]


_INSTRUCT = Wording(
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n",
    "### Instruction:\n{instruction}\n\n### Response:\n",
    "{system}\n\n",
)
_CHAT = Wording(
    "USER: {instruction}\n{input}\nASSISTANT:",
    "USER: {instruction}\nASSISTANT:",
    "SYSTEM: {system}\n",
)
_CHATML = Wording(
    "<|im_start|>user\n{instruction}\n{input}<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\n{instruction}<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>system\n{system}<|im_end|>\n",
)
_PHI = Wording(
    "<|user|>\n{instruction}<|end|>{input}<|assistant|>",
    "<|user|>\n{instruction}<|end|>\n<|assistant|>\n",
    "<|system|>\n{system}<|end|>\n",
)
_SYSTEM_LINES = "### System:\n{system}\n\n"
_ORCA = Wording(
    "### Human:\n{instruction}\n### Additional Context:\n{input}\n### Assistant:\n",
    "### Human:\n{instruction}\n### Assistant:\n",
    "### System:\n{system}\n",
)
_TASK_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request."
)
_TASK = (
    "Below is an instruction that describes a task. Write a response that appropriately "
    "completes the request."
)
_CONCISE_WITH_INPUT = (
    "Below is an instruction from a USER that describes a task, paired with an input that provides "
    "further context. The ASSISTANT writes a response that concisely and appropriately completes "
    "the request.\n\n"
)
_CONCISE = (
    "Below is an instruction from a USER that describes a task. The ASSISTANT writes a response "
    "that appropriately and concisely completes the request.\n\n"
)


def _alpaca(wording: Wording, **fields: Any) -> InstructionType:
    return InstructionType(
        wording, system_text=_TASK_WITH_INPUT, system_text_no_input=_TASK, **fields
    )


def _concise(wording: Wording, **fields: Any) -> InstructionType:
    return InstructionType(
        wording, system_text=_CONCISE_WITH_INPUT, system_text_no_input=_CONCISE, **fields
    )


def _with_system(wording: Wording, **fields: Any) -> InstructionType:
    return InstructionType(wording, needs_system=True, **{"system": "system", **fields})


_ORCA_FIELDS: dict[str, Any] = {
    "instruction": "question",
    "given": None,
    "response": "response",
    "system": "system_prompt",
}

INSTRUCTION_TYPES: dict[str, InstructionType] = {
    "alpaca": _alpaca(_INSTRUCT),
    "alpaca:instruct": _alpaca(_INSTRUCT),
    "alpaca:chat": _alpaca(_CHAT),
    "alpaca:chatml": _alpaca(_CHATML),
    "alpaca:phi": _alpaca(_PHI),
    "alpaca_instruct": _alpaca(_INSTRUCT),
    "alpaca_instruct.load": _alpaca(_INSTRUCT),
    "alpaca_instruct.load_no_prompt": InstructionType(_INSTRUCT),
    "alpaca_chat": _alpaca(_CHAT),
    "alpaca_chat.load": _alpaca(_CHAT),
    "alpaca_chat.load_concise": _concise(_CHAT),
    "alpaca_chat.load_no_prompt": InstructionType(_CHAT),
    "alpaca_chat.load_qa": _concise(_CHAT, instruction="question", given=None, response="answer"),
    "alpaca_chat.load_camel_ai": _concise(
        _CHAT, instruction="message_1", given=None, response="message_2"
    ),
    "alpaca_w_system": _with_system(Wording(_CHAT.turn, _CHAT.turn_no_input, _CHAT.system)),
    "alpaca_w_system.load": _with_system(_CHAT),
    "alpaca_w_system.load_chat": _with_system(_CHAT),
    "alpaca_w_system.load_instruct": _with_system(_INSTRUCT),
    "alpaca_w_system.load_open_orca": _with_system(_ORCA, **_ORCA_FIELDS),
    "alpaca_w_system.load_open_orca_chatml": _with_system(_CHATML, **_ORCA_FIELDS),
    "gpteacher": _alpaca(_INSTRUCT, response="response"),
    "gpteacher:chat": _alpaca(_CHAT, response="response"),
    "oasst": _alpaca(_INSTRUCT, instruction="INSTRUCTION", given=None, response="RESPONSE"),
}
"""The instruction types that are known, by axolotl's names for them."""
