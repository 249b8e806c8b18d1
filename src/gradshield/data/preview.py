"""An example token by token, to see with one's own eyes what carries loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradshield.data.tokenization import TokenizedExample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"


def preview(
    example: TokenizedExample, tokenizer: PreTrainedTokenizerBase
) -> list[tuple[str, bool]]:
    """The text of each token and whether it is a response token.

    The texts join to the decoded example. Where several tokens make one character, the last of
    them has it and the others have the empty text.
    """
    shown: list[tuple[str, bool]] = []
    # A token's text can depend on its left neighbour, a space before a word for example.
    context: list[int] = []
    pending: list[int] = []
    for index, (token, is_response) in enumerate(
        zip(example.input_ids, example.response_mask, strict=True)
    ):
        pending.append(token)
        is_last = index == len(example.input_ids) - 1
        whole = _decode(context + pending, tokenizer)
        if whole.endswith(_INCOMPLETE) and not is_last:
            shown.append(("", is_response))
            continue
        shown.append((whole[len(_decode(context, tokenizer)) :], is_response))
        context, pending = pending, []
    return shown


def _decode(ids: list[int], tokenizer: PreTrainedTokenizerBase) -> str:
    if not ids:
        return ""
    text = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return str(text)
