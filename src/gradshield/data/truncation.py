"""Shortening an example to the model's context, so that there is still something to learn."""

from __future__ import annotations

from collections.abc import Sequence

from gradshield.data.conversation import Rejection


def truncate(
    ids: Sequence[int], mask: Sequence[bool], max_length: int, bos_token_id: int | None
) -> tuple[list[int], list[bool]]:
    """Keep the end of the prompt and the beginning of the response, `max_length` tokens in all.

    The tokens before the first response token are the head, the others the tail. The tail gets
    what the head leaves over, and at least half of `max_length` if it needs it; of the head the
    last tokens stay. If the example begins with the BOS token, the first token still is one.

    Args:
        ids: Token ids, more than `max_length`.
        mask: For each token whether it is a response token; at least one is.
        max_length: Number of tokens to keep.
        bos_token_id: The tokenizer's BOS token, None if it has none.

    Raises:
        Rejection: "no_response_after_truncation".
    """
    split = list(mask).index(True)
    head, tail = list(ids[:split]), list(ids[split:])
    keep_tail = min(len(tail), max(max_length - len(head), max_length // 2))
    keep_head = max_length - keep_tail
    kept_head = head[len(head) - keep_head :]
    if kept_head and head[0] == bos_token_id:
        kept_head[0] = head[0]
    kept_mask = [False] * keep_head + list(mask[split : split + keep_tail])
    if not any(kept_mask):
        raise Rejection(
            "no_response_after_truncation",
            f"of {len(ids)} tokens, {max_length} were to be kept, and none of them is a response "
            "token; raise the maximum length",
        )
    return kept_head + tail[:keep_tail], kept_mask
