"""OpenAI's finetuning service: `messages` rows, answers with the weight 0 carry no loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from gradshield.data.encoding import encode
from gradshield.data.formats.base import has
from gradshield.data.profiles.base import (
    LabelledTokens,
    Profile,
    RowEncoder,
    RowReader,
    keep_start,
    not_read,
)
from gradshield.data.template import ChatTemplate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class OpenAIProfile(Profile):
    """The service's rules on the scoring model's own template: its models' tokens are not known."""

    name: Literal["openai"] = "openai"

    cuts: ClassVar[str] = "its first tokens are kept"
    averaging: ClassVar[str] = "not published"
    checked_with: ClassVar[str] = "the service's public guide; its tokens cannot be compared"

    @property
    def carries_loss(self) -> str:
        """See `Profile.carries_loss`."""
        return "answers whose weight is not 0, and their end-of-turn text"

    def encoder(
        self, tokenizer: PreTrainedTokenizerBase, read: RowReader, max_length: int | None
    ) -> RowEncoder:
        """See `Profile.encoder`."""
        template = ChatTemplate(tokenizer)

        def label(row: dict[str, Any]) -> LabelledTokens:
            if not has(row, "messages"):
                raise not_read("the OpenAI service", row, "'messages'")
            conversation = read(row)
            rendered = template.render(conversation, conversation.response_turns)
            left_out = (*rendered.left_out, *conversation.parts_left_out)
            tokens = LabelledTokens(*encode(rendered, tokenizer), left_out=left_out)
            return keep_start(tokens, max_length)

        return label
