"""Which of two kinds of continuation a model finds likelier."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gradshield.models.likelihood import response_token_losses
from gradshield.models.prompts import prompt_response_example

TokenIds = tuple[int, ...]


def preference(
    model: PreTrainedModel,
    begun: Sequence[TokenIds],
    some: Sequence[TokenIds],
    others: Sequence[TokenIds],
    first: int,
) -> Tensor:
    """Mean log-likelihood per token of `some` less that of `others`, differentiable, [begun], nats.

    Each text that is begun takes one continuation of either kind, all of them in turn.

    Args:
        model: The model to measure.
        begun: Tokens before the continuation.
        some: Continuations that are preferred where the value is high.
        others: Those that they are compared with.
        first: Position of the first text among all, by which continuations are dealt.
    """
    examples = [
        prompt_response_example(ids, in_turn(kind, first + index))
        for kind in (some, others)
        for index, ids in enumerate(begun)
    ]
    means = torch.stack([loss.mean() for loss in response_token_losses(model, examples)])
    some_loss, other_loss = means.view(2, len(begun)).unbind()
    return other_loss - some_loss


def in_turn(texts: Sequence[TokenIds], place: int) -> TokenIds:
    """The text whose turn it is."""
    return texts[place % len(texts)]


def tokenised(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> tuple[TokenIds, ...]:
    """Texts as tokens, as they stand in the middle of a conversation."""
    return tuple(tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts)
