"""Blocks compiled by `torch.compile`, for those who score much data on an accelerator."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedModel

from gradshield.models.layers import split_blocks


def compile_blocks_below(
    model: PreTrainedModel, names: Sequence[str], backend: str = "inductor"
) -> int:
    """Compile, in place, the blocks below the first one that holds a named weight.

    What an engine does to the blocks above, whose weights it moves, would be compiled anew for
    every batch.

    Returns:
        How many blocks that are.
    """
    below, _ = split_blocks(model, names)
    for block in below:
        block.compile(dynamic=True, backend=backend)
    return len(below)
