"""Negative log-likelihood of response tokens, for a batch of tokenised examples."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gradshield.data.tokenization import TokenizedExample
from gradshield.models.prompts import prompt_token_ids


def response_token_losses(
    model: PreTrainedModel, examples: Sequence[TokenizedExample]
) -> list[Tensor]:
    """Loss of every response token, by example; differentiable in the model's weights.

    The batch is padded on the right, so with causal attention no example sees padding and none
    depends on its neighbours. Logits are taken only at columns where some example has a response
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
        model, input_ids.to(model.device), attention_mask.to(model.device), columns.to(model.device)
    )
    chosen = input_ids[:, columns].to(logits.device)
    losses = functional.cross_entropy(logits.float().transpose(1, 2), chosen, reduction="none")
    wanted = targets[:, columns].to(logits.device)
    return [losses[row][wanted[row]] for row in range(len(examples))]


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


def _logits_before(
    model: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor, columns: Tensor
) -> Tensor:
    """Logits [batch, columns, vocabulary] that predict the tokens in the given columns."""
    before = columns - 1
    options = {"input_ids": input_ids, "attention_mask": attention_mask, "use_cache": False}
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        logits: Tensor = model(**options, logits_to_keep=before).logits
        return logits
    return model(**options).logits[:, before]  # type: ignore[no-any-return]


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
