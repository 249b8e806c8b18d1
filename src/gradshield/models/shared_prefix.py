"""What all rows of a batch begin with, a system prompt as a rule, is run once."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

LEAST_PREFIX = 8
"""Shared tokens from which on the extra pass over the prefix pays."""


def common_prefix(rows: Sequence[Sequence[int]], limit: int) -> int:
    """Number of leading tokens, at most `limit`, that all rows share."""
    columns = zip(*(row[: max(limit, 0)] for row in rows), strict=False)
    return sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, columns))


def prefix_options(model: PreTrainedModel, prefix_ids: Tensor, copies: int) -> dict[str, Any]:
    """Arguments with which the model goes on after a prefix that it has run once.

    Args:
        model: A causal language model.
        prefix_ids: The prefix, [1, tokens].
        copies: Rows that go on after it.

    Returns:
        Arguments of its forward, with keys and values that gradients flow through; empty where
        running the prefix apart does not pay, or where the model keeps more than keys and values,
        as recurrent layers do.
    """
    if prefix_ids.shape[1] < LEAST_PREFIX or copies == 1:
        return {}
    cache = DynamicCache(config=model.config)
    if {type(one) for one in cache.layers} != {DynamicLayer}:
        return {}
    options = {_cache_argument(model): cache, "use_cache": True}
    model.base_model(input_ids=prefix_ids, **options)
    cache.batch_repeat_interleave(copies)
    return options


def _cache_argument(model: PreTrainedModel) -> str:
    """The name that the model gives its cache; it has changed between versions of transformers."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
