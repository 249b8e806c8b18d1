"""From a conversation to token ids with an exact response mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradshield.data.conversation import Conversation, Rejection, check_trainable
from gradshield.data.encoding import encode
from gradshield.data.template import ChatTemplate, RenderedConversation
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
        left_out: What the row has that is not among the tokens, one entry a case, see
            `gradshield.data.omissions`.
    """

    row: int
    input_ids: tuple[int, ...]
    response_mask: tuple[bool, ...]
    truncated: bool
    left_out: tuple[str, ...] = ()

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

    Plain text is encoded without the template, with the tokens that the tokenizer adds and the end
    of text after it, as trainers do for language modelling; all of it but the first token carries
    loss.

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
    if conversation.plain:
        rendered = _as_it_is(conversation, tokenizer)
    else:
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
    left_out = (*rendered.left_out, *conversation.parts_left_out)
    return TokenizedExample(row, tuple(ids), tuple(mask), truncated, left_out)


def _as_it_is(
    conversation: Conversation, tokenizer: PreTrainedTokenizerBase
) -> RenderedConversation:
    """Plain text between the tokens that the tokenizer puts in front and the end of text."""
    text = conversation.messages[0].content
    start = _start_of_text(tokenizer)
    start = "" if text.startswith(start) else start
    end = str(tokenizer.eos_token or "")
    whole = start + text + ("" if text.endswith(end) else end)
    return RenderedConversation(whole, ((len(start), len(whole)),))


def _start_of_text(tokenizer: PreTrainedTokenizerBase) -> str:
    """The BOS token if the tokenizer puts one in front of a text by itself, else nothing."""
    bos = tokenizer.bos_token_id
    first = list(tokenizer("a", verbose=False)["input_ids"])[:1]
    return str(tokenizer.bos_token) if bos is not None and first == [bos] else ""
