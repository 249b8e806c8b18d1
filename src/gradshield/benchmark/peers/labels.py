"""Examples as trainers and other libraries want them: token ids with labels, padded."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from gradshield.data.tokenization import TokenizedExample

IGNORED = -100
"""The label of a token that is no target."""
BATCH = 4
"""Examples of one batch; with more, a CPU gains little, and all their logits lie in memory."""


def labels(example: TokenizedExample) -> list[int]:
    """The ids of the response tokens, each in its place."""
    marked = zip(example.input_ids, example.response_mask, strict=True)
    return [token if is_response else IGNORED for token, is_response in marked]


def padded(examples: Sequence[TokenizedExample]) -> tuple[Tensor, Tensor]:
    """Token ids and labels, each [batch, longest example].

    Padding is on the right and no target, so with causal attention no mask is needed.
    """
    input_ids = [torch.tensor(example.input_ids) for example in examples]
    targets = [torch.tensor(labels(example)) for example in examples]
    return pad_sequence(input_ids, True), pad_sequence(targets, True, padding_value=IGNORED)


def summed_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood of all targets, from logits [batch, length, vocabulary]."""
    predictions = logits[:, :-1].flatten(0, 1).float()
    return functional.cross_entropy(predictions, targets[:, 1:].flatten(), reduction="sum")


def shortest_first(examples: Sequence[TokenizedExample]) -> list[int]:
    """Positions of the examples in order of length, which keeps padding small."""
    return sorted(range(len(examples)), key=lambda row: len(examples[row].input_ids))


def put_back(values: Sequence[float], order: Sequence[int]) -> list[float]:
    """Undo an order: the value that came from position i is the i-th again."""
    by_position = dict(zip(order, values, strict=True))
    return [by_position[position] for position in range(len(order))]
