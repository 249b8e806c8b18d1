"""From a rendered conversation to token ids and the tokens that are responses."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from gradshield.data.template import RenderedConversation


def encode(
    rendered: RenderedConversation, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[int], list[bool]]:
    """Token ids of the text, and for each whether it belongs to a response.

    The text already holds every special token, so the tokenizer adds none: a BOS stands where
    the template puts one, and only there.

    The text is encoded as a whole, as trainers do, if every response starts and ends between two
    tokens. If one token would hold characters of a prompt and of a response, there is no right
    side for it: the text is then cut at the ends of the responses and encoded piece by piece, so
    that no token is shared and every character of an answer counts. Tokenizers that cannot tell
    which characters a token stands for always get pieces. White space that the tokenizer eats is
    in no token, so it carries no loss.

    Returns:
        Two lists of the same length.
    """
    if tokenizer.is_fast:
        encoded = tokenizer(
            rendered.text,
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            verbose=False,
        )
        ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
        mask = _mask_from_offsets(offsets, rendered)
        if mask is None:
            moved = _past_eaten_space(rendered, ids, offsets, tokenizer)
            mask = _mask_from_offsets(offsets, moved)
        if mask is not None:
            return list(ids), mask
    return _encode_pieces(rendered, tokenizer)


def _past_eaten_space(
    rendered: RenderedConversation,
    ids: Sequence[int],
    offsets: Sequence[tuple[int, int]],
    tokenizer: PreTrainedTokenizerBase,
) -> RenderedConversation:
    """The responses with ends that lie in white space which an added token eats moved out of it.

    Added tokens with `lstrip` or `rstrip` swallow the white space beside them, which then is in
    no token's text. It can be on either side of a boundary, and is on that of the eater.
    """
    eaters = {i: t for i, t in tokenizer.added_tokens_decoder.items() if t.lstrip or t.rstrip}
    moved = {}
    for token, (start, end) in zip(ids, offsets, strict=True):
        own = rendered.text.find(eaters[token].content, start, end) if token in eaters else -1
        if own >= 0:
            own_end = own + len(eaters[token].content)
            moved.update(dict.fromkeys(range(start, own + 1), start))
            moved.update(dict.fromkeys(range(own_end, end + 1), end))
    spans = ((moved.get(start, start), moved.get(end, end)) for start, end in rendered.responses)
    return replace(rendered, responses=tuple(spans))


def _mask_from_offsets(
    offsets: Sequence[tuple[int, int]], rendered: RenderedConversation
) -> list[bool] | None:
    """For each token whether it is in a response, None if the offsets do not tell.

    Some tokenizers leave white space out of a token's offsets, although it is in the token. So
    a response must start, and end, at a character where two tokens touch.
    """
    starts = [start for start, _ in offsets]
    ends = list(accumulate((end for _, end in offsets), max))
    if starts != sorted(starts):
        return None
    mask = [False] * len(offsets)
    for response in rendered.responses:
        bounds = [bisect_left(starts, character) for character in response]
        for character, index in zip(response, bounds, strict=True):
            end_before = ends[index - 1] if index > 0 else 0
            start_after = starts[index] if index < len(starts) else len(rendered.text)
            if not end_before == character == start_after:
                return None
        mask[bounds[0] : bounds[1]] = [True] * (bounds[1] - bounds[0])
    return mask


def _encode_pieces(
    rendered: RenderedConversation, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[int], list[bool]]:
    ids: list[int] = []
    mask: list[bool] = []
    for start, end, is_response in _pieces(rendered):
        piece = rendered.text[start:end]
        new = _ids(piece, tokenizer) if start == 0 else _continuation_ids(piece, tokenizer)
        ids += new
        mask += [is_response] * len(new)
    return ids, mask


def _pieces(rendered: RenderedConversation) -> Iterator[tuple[int, int, bool]]:
    at = 0
    for start, end in rendered.responses:
        if at < start:
            yield at, start, False
        yield start, end, True
        at = end
    if at < len(rendered.text):
        yield at, len(rendered.text), False


def _continuation_ids(piece: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Encode a piece that does not start the text.

    Some tokenizers put a space before the first word of whatever they encode. A line feed in
    front takes it instead, and is dropped again.
    """
    anchor = _ids("\n", tokenizer)
    anchored = _ids("\n" + piece, tokenizer)
    if anchored[: len(anchor)] == anchor:
        return anchored[len(anchor) :]
    return _ids(piece, tokenizer)


def _ids(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    encoded = tokenizer(text, add_special_tokens=False, return_attention_mask=False, verbose=False)
    return list(encoded["input_ids"])
