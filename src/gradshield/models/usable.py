"""Whether a loaded model can be scored with at all, found out before any long work."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gradshield.data.conversation import Rejection
from gradshield.data.load import LoadedData, TokenizedRows
from gradshield.data.survey import Scorable
from gradshield.data.tokenization import TokenizedExample
from gradshield.errors import UserError
from gradshield.models.layers import block_weights

Tokenized = TypeVar("Tokenized", LoadedData, TokenizedRows)

NAMED_TOKENS = 3
"""Tokens named in a message."""


def check_usable(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Refuse a model that has no gradients, whose numbers are none, or that lacks embeddings.

    Args:
        model: With any adapter merged.
        tokenizer: The one that was loaded with it.
        name: What the user calls the model.

    Raises:
        UserError: Names the first such fault.
    """
    _check_present(model, name)
    _check_differentiable(model, name)
    _check_finite(model, name)
    _check_vocabulary(model, tokenizer, name)


def _check_present(model: nn.Module, name: str) -> None:
    absent = [key for key, parameter in model.named_parameters() if parameter.is_meta]
    if absent:
        raise UserError(
            f"{len(absent)} weights of the model {name} are not in memory (the first is "
            f"{absent[0]}, on the device 'meta'): there are no numbers to score with. Load it "
            "whole onto one device, without offloading."
        )


def _check_differentiable(model: PreTrainedModel, name: str) -> None:
    if any(parameter.is_inference() for parameter in model.parameters()):
        raise UserError(
            f"The model {name} was made under torch.inference_mode, so its weights can have no "
            "gradients: load it outside of that."
        )
    try:
        block_weights(model)
    except UserError as fault:
        raise UserError(
            f"The model {name} keeps the matrices of its blocks in a form that has no gradients. "
            "Use the model that it was quantised from, or a 4-bit or 8-bit one of bitsandbytes."
        ) from fault


def _check_finite(model: nn.Module, name: str) -> None:
    for key, parameter in model.named_parameters():
        # Packed forms hold integers, or have no arithmetic of their own.
        if type(parameter) is not nn.Parameter or not parameter.is_floating_point():
            continue
        if not _is_finite(parameter.detach()):
            half = parameter.dtype == torch.float16
            raise UserError(
                f"The weight {key} of the model {name} holds numbers that are not finite (NaN or "
                "infinity), so no score would mean anything: "
                + ("float16 may lack the range, use --dtype float32; else " if half else "")
                + "save or download the model again."
            )


def _is_finite(tensor: Tensor) -> bool:
    """Whether all numbers are finite, by their extremes: these take no memory of their own."""
    if tensor.numel() == 0:
        return True
    low, high = torch.aminmax(tensor if tensor.element_size() > 1 else tensor.float())
    return math.isfinite(low) and math.isfinite(high)


def embedded_tokens(model: PreTrainedModel) -> int:
    """Number of tokens, from 0 on, that the model has embeddings for."""
    embedding: Any = model.get_input_embeddings()
    return int(embedding.weight.shape[0])


def unknown_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Tokens of the tokenizer that the model has no embedding for, and their numbers."""
    limit = embedded_tokens(model)
    return {token: index for token, index in tokenizer.get_vocab().items() if index >= limit}


def _check_vocabulary(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str
) -> None:
    """Tokens that were added to the tokenizer alone may go unused; those of its vocabulary not."""
    unknown = unknown_tokens(model, tokenizer)
    if unknown.values() - tokenizer.added_tokens_decoder.keys():
        raise UserError(
            f"The tokenizer of {name} has {len(unknown)} tokens ({named_tokens(unknown)}) beyond "
            f"the {embedded_tokens(model)} that the model has embeddings for: it belongs to "
            "another model. Put the model's own tokenizer beside its weights."
        )


def named_tokens(tokens: Mapping[str, int]) -> str:
    """The first few tokens with their numbers, for a message."""
    shown = sorted(tokens.items(), key=lambda item: item[1])[:NAMED_TOKENS]
    more = ", …" if len(tokens) > NAMED_TOKENS else ""
    return ", ".join(f"{token!r} is {index}" for token, index in shown) + more


def readable_by(model: PreTrainedModel, rows: Tokenized) -> Tokenized:
    """The same rows, with those that the model cannot read among the rejections.

    A token that was added to a tokenizer, for padding as a rule, may have no embedding. It only
    comes up in a row whose text spells it.
    """
    unknown = unreadable([*rows.examples, *rows.pairs], embedded_tokens(model))
    return replace(
        rows,
        examples=[one for one in rows.examples if one.row not in unknown],
        pairs=[one for one in rows.pairs if one.row not in unknown],
        rejections={**rows.rejections, **unknown},
    )


def unreadable(rows: Iterable[Scorable], known: int) -> dict[int, Rejection]:
    """Why each row that holds a token beyond the first `known` ones is rejected, by row."""
    highest = {row.row: max(map(max, _token_ids(row))) for row in rows}
    return {
        row: Rejection(
            "unknown_token",
            f"it holds the token {token}, for which the model has no embedding: take the text of "
            "this control token out of the row",
        )
        for row, token in highest.items()
        if token >= known
    }


def _token_ids(row: Scorable) -> list[tuple[int, ...]]:
    answers = (row,) if isinstance(row, TokenizedExample) else (row.chosen, row.rejected)
    return [answer.input_ids for answer in answers]
