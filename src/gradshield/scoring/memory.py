"""How many tokens a batch may have on an accelerator, measured on the first one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from gradshield.scoring.batching import CPU_BATCH_TOKENS

Result = TypeVar("Result")

FIRST_BATCH_TOKENS = 2048
"""Tokens of the batch on which memory is measured."""
MOST_BATCH_TOKENS = 2**17
"""More gains nothing even on a large accelerator."""
SHARE_OF_FREE_MEMORY = 0.7
"""Room is left for the allocator's gaps; a batch that is too large all the same is halved."""


@dataclass
class BatchBudget:
    """Padded tokens of the next batch.

    Attributes:
        tokens: The budget.
        device: Where the model is.
        measured: Whether the budget is settled: given by the user, or found by measurement.
    """

    tokens: int
    device: torch.device
    measured: bool

    @classmethod
    def starting(cls, batch_tokens: int | None, device: torch.device) -> BatchBudget:
        """The budget to begin with; None lets it be found on CUDA, and is 2,048 elsewhere."""
        if batch_tokens is not None:
            return cls(batch_tokens, device, measured=True)
        if device.type != "cuda":
            return cls(CPU_BATCH_TOKENS, device, measured=True)
        return cls(FIRST_BATCH_TOKENS, device, measured=False)

    def measure(self, run: Callable[[], Result], tokens: int) -> Result:
        """Run a batch of so many tokens; the first time, find out how many would fit."""
        if self.measured:
            return run()
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        result = run()
        used = torch.cuda.max_memory_allocated(self.device) - before
        # What the allocator has reserved and not given out is free to it.
        reserved = torch.cuda.memory_reserved(self.device)
        free = torch.cuda.mem_get_info(self.device)[0] + reserved - before
        self.tokens = tokens_that_fit(tokens, used, free)
        self.measured = True
        return result

    def halve(self, tokens: int) -> None:
        """A batch of so many tokens did not fit: try half from now on."""
        self.tokens = max(1, tokens // 2)
        self.measured = True


def tokens_that_fit(tokens: int, used: int, free: int) -> int:
    """Tokens of the largest batch, if so many tokens use so many bytes and so many are free."""
    fit = int(tokens * SHARE_OF_FREE_MEMORY * free / max(used, 1))
    return max(1, min(fit, MOST_BATCH_TOKENS))
