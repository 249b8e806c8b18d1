"""What a trainer profile is: which tokens of a row a trainer puts into its loss.

The same row is another lesson to another trainer. A profile does to a row what its trainer does
before the first step: prints it, makes tokens of it, says which of them carry loss, and cuts it.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from gradshield.data.conversation import Conversation, Rejection
from gradshield.data.errors import DataError
from gradshield.data.tokenization import TokenizedExample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RowReader = Callable[[dict[str, Any]], Conversation]
"""Reads a row as a conversation, by the row format that was found or asked for."""

TOKENS_OF_A_STEP = "the mean over the loss tokens of all rows of an optimizer step"
"""How `transformers.Trainer` averages, and with it every trainer that is built on it."""


@dataclass(frozen=True)
class LabelledTokens:
    """Tokens of a row, and for each whether the trainer puts it into the loss.

    Attributes:
        ids: Token ids, without padding.
        loss: For each token whether it is a target. The first token is never predicted, whatever
            a trainer's label for it is.
        truncated: Whether tokens were cut away.
        left_out: What the row has that is not among the tokens, see `TokenizedExample`.
    """

    ids: list[int]
    loss: list[bool]
    truncated: bool = False
    left_out: tuple[str, ...] = ()

    def example(self, row: int) -> TokenizedExample:
        """The example at position `row` of the file.

        Raises:
            Rejection: "no_response_after_truncation" or "empty_response" if no token carries loss.
        """
        loss = [False, *self.loss[1:]]
        if not any(loss) and self.truncated:
            raise Rejection(
                "no_response_after_truncation",
                f"of the {len(self.ids)} tokens that the trainer would keep, none carries loss; "
                "raise the maximum length",
            )
        if not any(loss):
            raise Rejection("empty_response", "no token of the row carries loss under the profile")
        return TokenizedExample(row, tuple(self.ids), tuple(loss), self.truncated, self.left_out)


RowEncoder = Callable[[dict[str, Any]], LabelledTokens]
"""Makes labelled tokens of a parsed row; raises `Rejection` for a row that cannot be scored."""


class Profile(BaseModel, ABC):
    """The settings of a trainer that decide which tokens carry loss, and what they come to.

    Attributes:
        name: What the command line calls it.
        carries_loss: Which tokens carry loss, for people.
        cuts: What becomes of a row that is longer than the limit, for people.
        averaging: How the trainer makes one number of the losses of tokens, for people. A fact
            about the trainer; how FIHS counts the tokens of a row is `ScoringSettings.reduction`.
        checked_with: The version that the profile was compared with.
        usual_length: The trainer's own limit in tokens, where nobody sets one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    cuts: ClassVar[str]
    averaging: ClassVar[str] = TOKENS_OF_A_STEP
    checked_with: ClassVar[str]
    usual_length: ClassVar[int] = 2048

    @property
    @abstractmethod
    def carries_loss(self) -> str:
        """Which tokens carry loss, in a few words."""

    @property
    def reads(self) -> str | None:
        """The fields that the profile itself reads rows by, None if rows come by a row format."""
        return None

    @abstractmethod
    def encoder(
        self, tokenizer: PreTrainedTokenizerBase, read: RowReader, max_length: int | None
    ) -> RowEncoder:
        """Make ready for rows of one file.

        Args:
            tokenizer: The model's; it is not changed.
            read: Reads a row as a conversation, for profiles that take any row format.
            max_length: The trainer's limit in tokens; None for no limit.

        Raises:
            DataError: The profile cannot be used with this tokenizer, whatever the rows are.
        """

    def exchange(self, question: str, answer: str, like: Mapping[str, Any]) -> dict[str, Any]:
        """A row of one question and one answer, written as this trainer reads rows.

        Args:
            question: Text of the user.
            answer: Text of the assistant.
            like: A row of the data, whose shape is taken where the trainer reads several.
        """
        return {"messages": _turns(question, answer)}

    def facts(self) -> dict[str, str]:
        """What the report of a run says about the profile."""
        return {
            "profile": self.name,
            "carries_loss": self.carries_loss,
            "cuts": self.cuts,
            "averaging": self.averaging,
            "checked_with": self.checked_with,
        }


def _turns(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def keep_start(tokens: LabelledTokens, max_length: int | None) -> LabelledTokens:
    """The first `max_length` tokens."""
    if max_length is None or len(tokens.ids) <= max_length:
        return tokens
    return replace(
        tokens, ids=tokens.ids[:max_length], loss=tokens.loss[:max_length], truncated=True
    )


def not_read(trainer: str, row: dict[str, Any], expected: str) -> Rejection:
    """The rejection of a row in a shape that the trainer does not read."""
    found = ", ".join(sorted(key for key in row if row[key] is not None)) or "none"
    return Rejection(
        "not_read_by_trainer",
        f"found the fields {found}; {trainer} reads {expected}, so convert the row first, as for "
        "the training",
    )


def plain_ids(text: str, tokenizer: PreTrainedTokenizerBase, *, special: bool = False) -> list[int]:
    """Token ids of a text; `special`: with what the tokenizer puts around each text, a BOS say."""
    encoded = tokenizer(
        text, add_special_tokens=special, return_attention_mask=False, verbose=False
    )
    return list(encoded["input_ids"])


def needs_eos(tokenizer: PreTrainedTokenizerBase, who: str) -> int:
    """The id of the end-of-sequence token.

    Raises:
        DataError: The tokenizer has none, and `who` ends rows with it.
    """
    if tokenizer.eos_token_id is None:
        raise DataError(f"{who} ends a text with the EOS token, and this tokenizer has none")
    return int(tokenizer.eos_token_id)


def with_changes(tokenizer: PreTrainedTokenizerBase, **changes: str) -> PreTrainedTokenizerBase:
    """A copy of the tokenizer with another `chat_template` or `eos_token`, of the same tokens."""
    changed = copy.deepcopy(tokenizer)
    for name, value in changes.items():
        setattr(changed, name, value)
    return changed
