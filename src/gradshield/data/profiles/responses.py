"""The default profile: assistant turns, printed by the model's own chat template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from gradshield.data.profiles.base import LabelledTokens, Profile, RowEncoder, RowReader
from gradshield.data.template import ChatTemplate
from gradshield.data.tokenization import tokenize_conversation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class ResponsesProfile(Profile):
    """What `gradshield finetune` trains on; which answers, all or the last, the reader decides."""

    name: Literal["responses"] = "responses"

    cuts: ClassVar[str] = "the end of the prompt and the beginning of the response are kept"
    checked_with: ClassVar[str] = "gradshield finetune"

    @property
    def carries_loss(self) -> str:
        """See `Profile.carries_loss`."""
        return "answers and their end-of-turn text"

    def encoder(
        self, tokenizer: PreTrainedTokenizerBase, read: RowReader, max_length: int | None
    ) -> RowEncoder:
        """See `Profile.encoder`."""
        ChatTemplate(tokenizer)  # finds out whether the template can be used at all

        def encode(row: dict[str, Any]) -> LabelledTokens:
            example = tokenize_conversation(read(row), tokenizer, max_length=max_length)
            return LabelledTokens(
                list(example.input_ids),
                list(example.response_mask),
                example.truncated,
                example.left_out,
            )

        return encode
