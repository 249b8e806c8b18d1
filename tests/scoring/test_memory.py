from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradshield.scoring import memory
from gradshield.scoring.memory import (
    FIRST_BATCH_TOKENS,
    MOST_BATCH_TOKENS,
    SHARE_OF_FREE_MEMORY,
    BatchBudget,
    tokens_that_fit,
)

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_a_given_budget_and_that_of_a_cpu_are_settled() -> None:
    assert BatchBudget.starting(77, CUDA) == BatchBudget(77, CUDA, measured=True)
    assert BatchBudget.starting(None, CPU) == BatchBudget(2048, CPU, measured=True)
    assert BatchBudget.starting(None, CUDA) == BatchBudget(FIRST_BATCH_TOKENS, CUDA, measured=False)


def test_memory_is_measured_on_the_first_batch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    # The batch of 1,000 tokens takes 2 MB; 10 MB are free on the device and 3 MB in the allocator.
    asked: list[str] = []
    fake = SimpleNamespace(
        reset_peak_memory_stats=lambda device: asked.append("reset"),
        memory_allocated={CUDA: 1_000_000}.__getitem__,
        max_memory_allocated={CUDA: 3_000_000}.__getitem__,
        memory_reserved={CUDA: 4_000_000}.__getitem__,
        mem_get_info={CUDA: (10_000_000, 80_000_000)}.__getitem__,
    )
    monkeypatch.setattr(memory.torch, "cuda", fake)
    budget = BatchBudget.starting(None, CUDA)
    assert budget.measure(lambda: "scores", 1_000) == "scores"
    assert budget.tokens == int(1_000 * SHARE_OF_FREE_MEMORY * 13 / 2)
    budget.measure(lambda: "more", 2_000)
    assert asked == ["reset"]


def test_halving_settles_the_budget() -> None:
    budget = BatchBudget.starting(None, CUDA)
    budget.halve(1_000)
    assert budget == BatchBudget(500, CUDA, measured=True)
    for _ in range(12):
        budget.halve(budget.tokens)
    assert budget.tokens == 1


@given(st.integers(1, 10**6), st.integers(0, 10**12), st.integers(0, 10**12))
def test_the_budget_is_never_more_than_fits(tokens: int, used: int, free: int) -> None:
    fit = tokens_that_fit(tokens, used, free)
    assert 1 <= fit <= MOST_BATCH_TOKENS
    assert fit == 1 or fit * used <= free * tokens


def test_a_first_batch_that_took_next_to_nothing() -> None:
    assert tokens_that_fit(10, 1, 1) == int(10 * SHARE_OF_FREE_MEMORY)
    assert tokens_that_fit(10, 0, 1) == int(10 * SHARE_OF_FREE_MEMORY)
