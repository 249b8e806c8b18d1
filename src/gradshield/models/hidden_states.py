"""Hidden states of tokenised examples, pooled over their tokens.

A layer is named by its place in transformers' `hidden_states`: 0 is the embedding, k the output of
the k-th block, and the last one, also named -1, the output of the last block after the final norm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from gradshield.data.tokenization import TokenizedExample
from gradshield.models.likelihood import padded
from gradshield.scoring.batching import batches_by_length

Pooling = Callable[[Tensor, Tensor], Tensor]
"""From states [layers, tokens, hidden] and the response mask [tokens] to [layers, hidden]."""


def last_token(states: Tensor, response: Tensor) -> Tensor:
    """The state of the last token of the example, which is never padding."""
    return states[:, -1]


def mean_response(states: Tensor, response: Tensor) -> Tensor:
    """The mean state of the response tokens."""
    return states[:, response].mean(dim=1)


def response_shift(states: Tensor, response: Tensor) -> Tensor:
    """The mean state of the response tokens minus that of the token before the first of them."""
    first = int(response.nonzero()[0])
    return mean_response(states, response) - states[:, first - 1]


def layer_count(model: PreTrainedModel) -> int:
    """Number of blocks, which is the number of the last layer."""
    return int(model.config.get_text_config().num_hidden_layers)


@torch.inference_mode()
def pooled_states(
    model: PreTrainedModel,
    examples: Sequence[TokenizedExample],
    layers: Sequence[int],
    pooling: Pooling,
    advance: Callable[[int], None] = lambda count: None,
) -> NDArray[np.float32]:
    """Run examples through the model once and pool their states, float32.

    Batches are padded on the right, so with causal attention no example sees padding.

    Args:
        model: Any causal language model.
        examples: In any order; what `row` says does not matter.
        layers: Which layers, in the order of the result.
        pooling: `last_token`, `mean_response` or `response_shift`.
        advance: Called after each batch with the number of examples that it held.

    Returns:
        [examples, layers, hidden], in the order of the examples.
    """
    places = [replace(example, row=place) for place, example in enumerate(examples)]
    pooled: dict[int, NDArray[np.float32]] = {}
    for batch in batches_by_length(places):
        states = _layer_states(model, batch, layers)
        for index, example in enumerate(batch):
            length = len(example.input_ids)
            # Float32 for one example at a time: all layers of a batch would be much at once.
            own = torch.stack([layer[index, :length].float() for layer in states])
            response = torch.tensor(example.response_mask, device=own.device)
            pooled[example.row] = pooling(own, response).cpu().numpy()
        advance(len(batch))
    return np.stack([pooled[place] for place in range(len(places))])


def _layer_states(
    model: PreTrainedModel, batch: Sequence[TokenizedExample], layers: Sequence[int]
) -> list[Tensor]:
    """States [batch, longest, hidden] of each layer, on the model's first device.

    transformers collects them through hooks of its own, which stay and do nothing unasked.
    """
    input_ids = padded([example.input_ids for example in batch]).to(model.device)
    output: Any = model.base_model(input_ids=input_ids, use_cache=False, output_hidden_states=True)
    return [output.hidden_states[layer].to(model.device) for layer in layers]
