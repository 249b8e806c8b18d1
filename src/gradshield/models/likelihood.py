"""Negative log-likelihood of response tokens, for a batch of tokenised examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gradshield.data.tokenization import TokenizedExample
from gradshield.models.open_weights import replaced_forward
from gradshield.models.prompts import prompt_token_ids
from gradshield.models.shared_prefix import common_prefix, prefix_options

MOST_LOGITS = 2**22
"""Logits that are made at a time: 16 MiB in float32, and in derivatives several times that."""


def response_token_losses(
    model: PreTrainedModel, examples: Sequence[TokenizedExample]
) -> list[Tensor]:
    """Loss of every response token, by example; differentiable in the model's weights.

    The batch is padded on the right, so with causal attention no example sees padding and none
    depends on its neighbours: no attention mask is needed. Tokens that all examples begin with (a
    system prompt, as a rule) are computed once. Logits are taken only where the next token is a
    response token, some at a time, never for the whole batch x length x vocabulary.

    Args:
        model: A causal language model. If its hooks run the batch in several versions, one after
            the other along the first dimension, the losses of each version are returned in turn.
        examples: Tokenised examples; each has at least one response token.

    Returns:
        Per example a float32 tensor [response tokens], in nats, in the order of the tokens.
    """
    input_ids, targets = _pad(examples)
    input_ids = input_ids.to(model.device)
    first_response = min(example.response_mask.index(True) for example in examples)
    output, prefix = _run_base(model, input_ids, first_response - 1)
    states = output.last_hidden_state[:, :-1]
    versions = len(states) // len(examples)
    wanted = targets[:, prefix + 1 :].to(states.device)
    next_ids = input_ids[:, prefix + 1 :].to(states.device)[wanted]
    losses = _token_losses(
        model, output, states[wanted.repeat(versions, 1)], next_ids.repeat(versions)
    )
    return list(torch.split(losses, [example.response_tokens for example in examples] * versions))


def first_response_logits(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]
) -> Tensor:
    """Logits of the first token that the model would answer with, for each user prompt.

    Returns:
        A differentiable float32 tensor [prompts, vocabulary].
    """
    rendered = [prompt_token_ids(tokenizer, prompt) for prompt in prompts]
    input_ids = padded(rendered).to(model.device)
    last = torch.tensor([len(token_ids) - 1 for token_ids in rendered], device=model.device)
    output, prefix = _run_base(model, input_ids, int(last.min()))
    states = output.last_hidden_state
    return _logits(model, output, states[range(len(rendered)), last - prefix]).float()


def _pad(examples: Sequence[TokenizedExample]) -> tuple[Tensor, Tensor]:
    """Token ids and response mask, each [batch, longest example].

    Padding is known by length and not by its token, since many tokenizers pad with the
    end-of-turn token, which is a response token.
    """
    input_ids = padded([example.input_ids for example in examples])
    targets = padded([example.response_mask for example in examples]).bool()
    return input_ids, targets


def padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows of numbers filled up with zeros on the right, [rows, longest]."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row).long() for row in rows], True)


def _run_base(model: PreTrainedModel, input_ids: Tensor, limit: int) -> tuple[Any, int]:
    """Output of the model below its head, and the column that its first state belongs to.

    Tokens alike in all rows, at most `limit`, are computed for one row only if that pays; the
    states begin after them then.
    """
    prefix = common_prefix(input_ids.tolist(), limit)
    options = prefix_options(model, input_ids[:1, :prefix], len(input_ids))
    if options:
        return model.base_model(input_ids=input_ids[:, prefix:], **options), prefix
    return model.base_model(input_ids=input_ids, use_cache=False), 0


def _token_losses(model: PreTrainedModel, output: Any, states: Tensor, next_ids: Tensor) -> Tensor:
    """Loss [tokens] of the next tokens after states [tokens, hidden]."""
    at_a_time = max(1, MOST_LOGITS // model.config.get_text_config().vocab_size)
    losses = [
        functional.cross_entropy(_logits(model, output, some).float(), ids, reduction="none")
        for some, ids in zip(
            torch.split(states, at_a_time), torch.split(next_ids, at_a_time), strict=True
        )
    ]
    return torch.cat(losses)


def _logits(model: PreTrainedModel, output: Any, states: Tensor) -> Tensor:
    """Logits [tokens, vocabulary] of last hidden states [tokens, hidden].

    The model computes them itself, from states put in place of its own: what it does beside its
    head (soft caps, scales) is known to its `forward` alone.
    """
    given = type(output)(last_hidden_state=states[None])
    with replaced_forward(model.base_model, lambda *_, **__: given):
        placeholder = torch.zeros(1, len(states), dtype=torch.long, device=states.device)
        logits: Tensor = model(input_ids=placeholder, use_cache=False).logits
    return logits[0]
