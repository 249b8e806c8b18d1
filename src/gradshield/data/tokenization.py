"""From a conversation to token ids with an exact response mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradshield.data.conversation import Conversation, Rejection, check_trainable
from gradshield.data.encoding import encode
from gradshield.data.template import ChatTemplate
from gradshield.data.truncation import truncate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class TokenizedExample:
    """An example as the model reads it.

    Attributes:
        row: 0-based position of its row in the file.
        input_ids: Token ids, without padding.
        response_mask: For each token whether it is a response token: one that the model should
            predict, so that it enters the loss as a target. The first token never is, since
            nothing predicts it. An end-of-turn token after an answer is, even if its id is also
            the padding's; padding is to be masked by length.
        truncated: Whether tokens were cut away.
    """

    row: int
    input_ids: tuple[int, ...]
    response_mask: tuple[bool, ...]
    truncated: bool

    @property
    def response_tokens(self) -> int:
        """Number of response tokens."""
        return sum(self.response_mask)


def tokenize_conversation(
    conversation: Conversation,
    tokenizer: PreTrainedTokenizerBase,
    *,
    row: int = 0,
    max_length: int | None,
) -> TokenizedExample:
    """Render by the tokenizer's chat template, encode, and mark the response tokens.

    Args:
        conversation: At least one turn of it must carry loss.
        tokenizer: A tokenizer with a chat template.
        row: Position of the row, for the result.
        max_length: Greatest number of tokens, see `gradshield.data.truncation.truncate`; None
            for no limit.

    Raises:
        Rejection: The conversation cannot be scored.
        TemplateError: The tokenizer cannot be used for any conversation.
    """
    check_trainable(conversation)
    rendered = ChatTemplate(tokenizer).render(conversation, conversation.response_turns)
    ids, mask = encode(rendered, tokenizer)
    if mask:
        mask[0] = False
    if not any(mask):
        raise Rejection(
            "empty_response",
            "no token of the response can be predicted: the tokenizer makes no token of it, or "
            "only one that nothing comes before",
        )
    truncated = max_length is not None and len(ids) > max_length
    if max_length is not None and truncated:
        ids, mask = truncate(ids, mask, max_length, tokenizer.bos_token_id)
    return TokenizedExample(row, tuple(ids), tuple(mask), truncated)
