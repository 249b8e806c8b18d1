"""axolotl: chat templates with roles to train, and instruction types with texts of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from gradshield.data.conversation import Rejection
from gradshield.data.errors import DataError
from gradshield.data.profiles.axolotl.chat import ChatRules, EndTokens, chat_encoder
from gradshield.data.profiles.axolotl.instructions import (
    INSTRUCTION_TYPES,
    InstructionType,
    Wording,
    instruction_encoder,
    segments_encoder,
    text_encoder,
)
from gradshield.data.profiles.base import (
    LabelledTokens,
    Profile,
    RowEncoder,
    RowReader,
    keep_start,
    with_changes,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OTHER_TYPES = ("chat_template", "completion", "input_output")
KNOWN_TYPES = (*OTHER_TYPES, *INSTRUCTION_TYPES)


class OwnType(BaseModel):
    """A `type` that the configuration spells out, under axolotl's names and defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    system_prompt: str = ""
    field_system: str = "system"
    field_instruction: str = "instruction"
    field_input: str = "input"
    field_output: str = "output"
    format: str = "{instruction} {input} "
    no_input_format: str = "{instruction} "
    system_format: str = "{system}"

    def instruction_type(self) -> InstructionType:
        """The same as the known types are written."""
        return InstructionType(
            Wording(self.format, self.no_input_format, self.system_format),
            instruction=self.field_instruction,
            given=self.field_input,
            response=self.field_output,
            system=self.field_system,
            system_text=self.system_prompt,
        )


class AxolotlProfile(Profile):
    """The settings are keys of axolotl's configuration, of the file or of its data set.

    Attributes:
        chat_template: A Jinja template, None for the tokenizer's own.
        excess_length_strategy: What becomes of a row that is longer than `sequence_len`, which is
            the maximum length of the run.
        field: Field of rows of the type `completion`.
        special_tokens: Special tokens that are not the tokenizer's own; only the EOS token has
            an influence.
        tokens: Tokens that must be in the vocabulary, since axolotl would add them otherwise.
        type: How a row is written: a name, or the texts.
    """

    name: Literal["axolotl"] = "axolotl"
    type: str | OwnType = "chat_template"
    train_on_inputs: bool = False
    roles_to_train: tuple[str, ...] = ("assistant",)
    train_on_eos: EndTokens = "turn"
    train_on_eot: EndTokens | None = None
    eot_tokens: tuple[str, ...] | None = None
    special_tokens: dict[str, str] = Field(default_factory=dict)
    tokens: tuple[str, ...] = ()
    chat_template: str | None = None
    field_messages: str = "messages"
    message_property_mappings: dict[str, str] = Field(
        default_factory=lambda: {"role": "role", "content": "content"}
    )
    message_field_training: str | None = None
    roles: dict[str, tuple[str, ...]] | None = None
    drop_system_message: bool = False
    field: str = "text"
    excess_length_strategy: Literal["drop", "truncate", "raise"] = "drop"

    cuts: ClassVar[str] = "it is rejected; excess_length_strategy: truncate keeps its first tokens"
    checked_with: ClassVar[str] = "axolotl 0.19.0"
    usual_length: ClassVar[int] = 512

    @field_validator("type")
    @classmethod
    def _known_type(cls, value: str | OwnType) -> str | OwnType:
        if isinstance(value, str) and value not in KNOWN_TYPES:
            raise ValueError(
                f"the type {value!r} is not supported; known types are {', '.join(KNOWN_TYPES)}, "
                "or write the texts of your type out (format, no_input_format, …)"
            )
        return value

    @field_validator("message_property_mappings")
    @classmethod
    def _known_properties(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if name not in ("role", "content"):
                raise ValueError(f"the property {name!r} of turns is not supported")
        return {"role": "role", "content": "content", **value}

    @property
    def carries_loss(self) -> str:
        """See `Profile.carries_loss`."""
        if self.type == "completion":
            return "every token of the text, and the EOS token after it"
        if self.type == "input_output":
            return "every token" if self.train_on_inputs else "segments with the label true"
        if self.type != "chat_template":
            prompt = "the prompt, " if self.train_on_inputs else ""
            return f"{prompt}the response and the EOS token after it"
        who = "every turn" if self.train_on_inputs else f"turns of {', '.join(self.roles_to_train)}"
        if self.message_field_training is not None:
            who += f", unless {self.message_field_training!r} of a turn says otherwise"
        return f"the text of {who}; end tokens: {self.train_on_eos}"

    @property
    def reads(self) -> str:
        """See `Profile.reads`."""
        if not isinstance(self.type, str):
            return f"axolotl's own type of the configuration ({self._instructions().fields})"
        if self.type in INSTRUCTION_TYPES:
            return f"axolotl type {self.type} ({self._instructions().fields})"
        field = {"chat_template": self.field_messages, "completion": self.field}
        return f"axolotl type {self.type} ({field.get(self.type, 'segments')!r})"

    def exchange(self, question: str, answer: str, like: Mapping[str, Any]) -> dict[str, Any]:
        """See `Profile.exchange`."""
        if self.type == "chat_template":
            names = self.message_property_mappings
            turns = [("user", question), ("assistant", answer)]
            written = [{names["role"]: role, names["content"]: text} for role, text in turns]
            return {self.field_messages: written}
        if self.type == "completion":
            return {self.field: f"{question}\n{answer}"}
        if self.type == "input_output":
            segments = [(False, f"{question}\n"), (True, answer)]
            return {"segments": [{"label": label, "text": text} for label, text in segments]}
        kind = self._instructions()
        system = {} if kind.system is None else {kind.system: kind.system_text}
        return {**system, kind.instruction: question, kind.response: answer}

    def encoder(
        self, tokenizer: PreTrainedTokenizerBase, read: RowReader, max_length: int | None
    ) -> RowEncoder:
        """See `Profile.encoder`."""
        encode = self._encoder(self._fitted(tokenizer))

        def label(row: dict[str, Any]) -> LabelledTokens:
            tokens = encode(row)
            if max_length is None or len(tokens.ids) <= max_length:
                return tokens
            if self.type != "completion" and self.excess_length_strategy == "truncate":
                return keep_start(tokens, max_length)
            raise Rejection("too_long", self._too_long(len(tokens.ids), max_length))

        return label

    def _encoder(
        self, tokenizer: PreTrainedTokenizerBase
    ) -> Callable[[dict[str, Any]], LabelledTokens]:
        if self.type == "chat_template":
            return chat_encoder(self._chat_rules(), tokenizer)
        if self.type == "completion":
            return text_encoder(self.field, tokenizer)
        if self.type == "input_output":
            return segments_encoder(tokenizer, train_on_inputs=self.train_on_inputs)
        kind = self._instructions()
        return instruction_encoder(kind, tokenizer, train_on_inputs=self.train_on_inputs)

    def _instructions(self) -> InstructionType:
        if isinstance(self.type, OwnType):
            return self.type.instruction_type()
        return INSTRUCTION_TYPES[self.type]

    def _chat_rules(self) -> ChatRules:
        roles = self.roles
        mapped = None if roles is None else {s: to for to, names in roles.items() for s in names}
        return ChatRules(
            field_messages=self.field_messages,
            role=self.message_property_mappings["role"],
            content=self.message_property_mappings["content"],
            roles=mapped,
            drop_system_message=self.drop_system_message,
            message_field_training=self.message_field_training,
            train_on_inputs=self.train_on_inputs,
            roles_to_train=self.roles_to_train,
            train_on_eos=self.train_on_eos,
            train_on_eot=self.train_on_eos if self.train_on_eot is None else self.train_on_eot,
            eot_tokens=self.eot_tokens,
        )

    def _fitted(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
        """The tokenizer with the template and the EOS token of the configuration."""
        known = {str(token) for token in tokenizer.added_tokens_decoder.values()}
        special = (token for name, token in self.special_tokens.items() if name != "pad_token")
        for token in (*self.tokens, *special):
            if token not in known:
                raise DataError(
                    f"the axolotl configuration adds the token {token!r}, which the model's "
                    "tokenizer does not have: score with a model that has it, or leave it out"
                )
        changes = {}
        if self.chat_template is not None:
            changes["chat_template"] = self.chat_template
        if "eos_token" in self.special_tokens:
            changes["eos_token"] = self.special_tokens["eos_token"]
        return with_changes(tokenizer, **changes) if changes else tokenizer

    def _too_long(self, length: int, max_length: int) -> str:
        what = "drops it"
        if self.type == "completion":
            what = "cuts it into several rows, each with a loss of its own: cut it beforehand"
        elif self.excess_length_strategy == "raise":
            what = "stops at it"
        limit = f"more than sequence_len ({max_length})"
        return f"the row has {length} tokens, {limit}, and axolotl {what}"
