"""The engines on a CUDA device, against the oracle on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from gradshield.models.load import LoadedModel
from gradshield.probes.direction import Direction, training_direction
from gradshield.scoring.engines import ENGINES
from gradshield.scoring.engines.per_example import PerExample
from gradshield.scoring.memory import FIRST_BATCH_TOKENS, BatchBudget
from gradshield.scoring.score import score_examples
from tests.scoring.engines.test_engines import many_examples
from tests.tiny_models import chat_tokenizer, mixed_examples, tiny_llama

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

CUDA = torch.device("cuda", 0)
"""With an index, which `set_per_process_memory_fraction` insists on."""


def oracle() -> tuple[Direction, np.ndarray]:
    """A direction, and the exact scores of many examples on the CPU."""
    model = tiny_llama()
    direction = Direction(training_direction(model, mixed_examples()[:3]), {})
    engine = PerExample(tokens=False).prepare(model, direction, "sum", [])
    return direction, np.array([score.fihs for score in engine.score(many_examples())])


def scores(name: str, dtype: torch.dtype, direction: Direction, **options: Any) -> np.ndarray:
    model = tiny_llama().to(CUDA, dtype)
    engine = ENGINES[name].prepare(model, direction, "sum", mixed_examples())
    loaded = LoadedModel(model, chat_tokenizer(), "tiny")
    options = {"batch_tokens": None, **options}
    found = score_examples(loaded, many_examples(), engine, **options)
    return np.array([found[row].fihs for row in range(len(many_examples()))])


@pytest.mark.parametrize("name", ["finite_difference", "jvp", "per_example"])
def test_engines_agree_with_the_cpu(name: str) -> None:
    direction, expected = oracle()
    found = scores(name, torch.float32, direction)
    # Matrix products in TF32 would be off by more.
    np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_jvp_ranks_alike_in_half_precision(dtype: torch.dtype) -> None:
    direction, expected = oracle()
    assert spearmanr(scores("jvp", dtype, direction), expected).statistic >= 0.995


def test_the_largest_batch_is_found() -> None:
    direction, _ = oracle()
    model = tiny_llama().to(CUDA)
    engine = ENGINES["finite_difference"].prepare(model, direction, "sum", mixed_examples())
    budget = BatchBudget.starting(None, CUDA)
    budget.measure(lambda: engine.score(many_examples()), 1_000)
    assert budget.measured
    assert budget.tokens > FIRST_BATCH_TOKENS


def test_out_of_memory_halves_the_batch_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    direction, expected = oracle()
    halved: list[int] = []
    halve = BatchBudget.halve

    def noted(budget: BatchBudget, tokens: int) -> None:
        halved.append(tokens)
        halve(budget, tokens)

    monkeypatch.setattr(BatchBudget, "halve", noted)
    total = torch.cuda.get_device_properties(CUDA).total_memory
    torch.cuda.empty_cache()
    try:
        # A few megabytes beyond what is taken: one batch of all rows does not fit.
        room = torch.cuda.memory_reserved(CUDA) + 24 * 2**20
        torch.cuda.set_per_process_memory_fraction(room / total, CUDA)
        many = scores("finite_difference", torch.float32, direction, batch_tokens=10**6)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, CUDA)
    assert halved
    np.testing.assert_allclose(many, expected, atol=2e-3 * np.abs(expected).max())
