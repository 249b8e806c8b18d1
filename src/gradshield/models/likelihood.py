"""Negative log-likelihood of response tokens, for a batch of tokenised examples."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from itertools import takewhile

import torch
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer

from gradshield.data.tokenization import TokenizedExample
from gradshield.models.prompts import prompt_token_ids

LEAST_PREFIX = 8
"""Shared tokens from which on the extra pass over the prefix pays."""


def response_token_losses(
    model: PreTrainedModel, examples: Sequence[TokenizedExample]
) -> list[Tensor]:
    """Loss of every response token, by example; differentiable in the model's weights.

    The batch is padded on the right, so with causal attention no example sees padding and none
    depends on its neighbours. Tokens that all examples begin with (a system prompt, as a rule) are
    computed once. Logits are taken only at columns where some example has a response
    token, never for the whole batch x length x vocabulary.

    Args:
        model: A causal language model.
        examples: Tokenised examples; each has at least one response token.

    Returns:
        Per example a float32 tensor [response tokens], in nats, in the order of the tokens.
    """
    input_ids, attention_mask, targets = _pad(examples)
    columns = targets.any(dim=0).nonzero().squeeze(1)
    logits = _logits_before(
        model,
        input_ids.to(model.device),
        attention_mask.to(model.device),
        columns.to(model.device),
        prefix=_common_prefix(examples),
    )
    wanted = targets[:, columns].to(logits.device)
    chosen = input_ids[:, columns].to(logits.device)
    losses = functional.cross_entropy(logits[wanted].float(), chosen[wanted], reduction="none")
    return list(torch.split(losses, [example.response_tokens for example in examples]))


def _pad(examples: Sequence[TokenizedExample]) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids, attention mask and response mask, each [batch, longest example].

    Padding is known by length and not by its token, since many tokenizers pad with the
    end-of-turn token, which is a response token.
    """
    width = max(len(example.input_ids) for example in examples)
    input_ids = torch.zeros(len(examples), width, dtype=torch.long)
    attention_mask = torch.zeros_like(input_ids)
    targets = torch.zeros_like(input_ids, dtype=torch.bool)
    for row, example in enumerate(examples):
        length = len(example.input_ids)
        input_ids[row, :length] = torch.tensor(example.input_ids)
        attention_mask[row, :length] = 1
        targets[row, :length] = torch.tensor(example.response_mask)
    return input_ids, attention_mask, targets


def _common_prefix(examples: Sequence[TokenizedExample]) -> int:
    """Number of leading tokens that all examples share and that predict no response token."""
    limit = min(example.response_mask.index(True) for example in examples) - 1
    columns = zip(*(example.input_ids[: max(limit, 0)] for example in examples), strict=False)
    return sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, columns))


def _logits_before(
    model: PreTrainedModel,
    input_ids: Tensor,
    attention_mask: Tensor,
    columns: Tensor,
    prefix: int = 0,
) -> Tensor:
    """Logits [batch, columns, vocabulary] that predict the tokens in the given columns.

    The first `prefix` tokens, alike in all rows, are computed for one row only if that pays.
    """
    before = columns - 1
    options = {"input_ids": input_ids, "attention_mask": attention_mask, "use_cache": False}
    if prefix >= LEAST_PREFIX and len(input_ids) > 1:
        cache = _prefix_cache(model, input_ids[:1, :prefix], len(input_ids))
        if cache is not None:
            options |= {"input_ids": input_ids[:, prefix:], _cache_argument(model): cache}
            options["use_cache"] = True
            before = before - prefix
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        logits: Tensor = model(**options, logits_to_keep=before).logits
        return logits
    return model(**options).logits[:, before]  # type: ignore[no-any-return]


def _prefix_cache(model: PreTrainedModel, prefix_ids: Tensor, copies: int) -> DynamicCache | None:
    """Keys and values of a prefix, differentiable, for several rows; None if the model has none."""
    cache = DynamicCache(config=model.config)
    # Other caches, such as those of recurrent layers, hold more than keys and values.
    if {type(one) for one in cache.layers} != {DynamicLayer}:
        return None
    model.base_model(input_ids=prefix_ids, use_cache=True, **{_cache_argument(model): cache})
    cache.batch_repeat_interleave(copies)
    return cache


def _cache_argument(model: PreTrainedModel) -> str:
    """The name that the model gives its cache; it has changed between versions of transformers."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def first_response_logits(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]
) -> Tensor:
    """Logits of the first token that the model would answer with, for each user prompt.

    Returns:
        A differentiable float32 tensor [prompts, vocabulary].
    """
    rendered = [prompt_token_ids(tokenizer, prompt) for prompt in prompts]
    logits = []
    for token_ids in rendered:
        input_ids = torch.tensor([token_ids], device=model.device)
        last = torch.tensor([len(token_ids)], device=model.device)
        logits.append(_logits_before(model, input_ids, torch.ones_like(input_ids), last)[0, 0])
    return torch.stack(logits).float()
