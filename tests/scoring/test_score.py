from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from gradshield.config import ScoringSettings
from gradshield.data.tokenization import TokenizedExample
from gradshield.errors import UserError
from gradshield.models.load import LoadedModel
from gradshield.probes.direction import Direction, training_direction
from gradshield.progress import Silent
from gradshield.scoring.engines import ENGINES, ExampleScore, PreparedEngine
from gradshield.scoring.score import prepare_engine, score_examples, try_longest
from tests.tiny_architectures import tiny_architecture
from tests.tiny_models import (
    chat_tokenizer,
    losses,
    mixed_examples,
    random_direction,
    same_weights,
    snapshot,
    tiny_loaded,
)


class Listening(Silent):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.warned: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)

    def warn(self, line: str) -> None:
        self.warned.append(line)


def finite_difference() -> PreparedEngine:
    model = tiny_loaded().model
    engine = ENGINES["finite_difference"]
    return engine.prepare(model, random_direction(model), "mean", mixed_examples())


def test_every_example_is_scored_once_and_counted() -> None:
    loaded = tiny_loaded()
    counts: list[int] = []
    scores = score_examples(
        loaded, mixed_examples(), finite_difference(), batch_tokens=100, progress=counts.append
    )
    assert sorted(scores) == list(range(len(mixed_examples())))
    assert sum(counts) == len(mixed_examples())
    assert len(counts) > 1
    found = [scores[row].loss for row in sorted(scores)]
    assert found == pytest.approx(losses(mixed_examples(), loaded.model), rel=1e-4)


def test_an_interrupted_run_leaves_the_model_as_it_was() -> None:
    loaded = tiny_loaded()
    before = snapshot(loaded.model)
    engine = ENGINES["finite_difference"].prepare(
        loaded.model, random_direction(loaded.model), "mean", mixed_examples()
    )

    def interrupt(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_examples(loaded, mixed_examples(), engine, batch_tokens=100, progress=interrupt)
    assert same_weights(loaded.model, before)


@pytest.mark.parametrize(
    ("asked", "dtype", "expected"),
    [
        ("auto", torch.float32, "Engine finite_difference: the fastest, and good in float32; step"),
        ("auto", torch.bfloat16, "Engine jvp: in bfloat16 a small step rounds away; attention"),
        ("per_example", torch.float32, "Engine per_example: as asked; attention by the math"),
    ],
)
def test_the_engine_and_the_reason_are_told(asked: str, dtype: torch.dtype, expected: str) -> None:
    loaded = tiny_loaded()
    loaded.model.to(dtype)
    progress = Listening()
    settings = ScoringSettings(engine=asked)
    prepare_engine(loaded, random_direction(loaded.model), settings, progress)
    assert progress.said[0].startswith(expected)
    assert not progress.warned


def test_a_step_that_was_chosen_before_is_taken() -> None:
    loaded, progress = tiny_loaded(), Listening()
    direction = random_direction(loaded.model)
    engine = prepare_engine(loaded, direction, ScoringSettings(), progress, step=0.0123)
    assert engine.step == 0.0123
    assert progress.said == [
        "Engine finite_difference: the fastest, and good in float32; step 0.0123, as given."
    ]


def test_what_is_compiled_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, progress = tiny_loaded(), Listening()
    direction = random_direction(loaded.model)
    asked: list[tuple[Any, list[str]]] = []

    def compiled(model: Any, names: list[str]) -> int:
        asked.append((model, names))
        return 7

    monkeypatch.setattr("gradshield.scoring.score.compile_blocks_below", compiled)
    settings = ScoringSettings(compile=True, engine="per_example")
    prepare_engine(loaded, direction, settings, progress)
    assert asked == [(loaded.model, list(direction.tensors))]
    assert progress.said[0] == (
        "7 blocks lie below the direction and are compiled at their first use."
    )


def test_the_engines_warning_is_passed_on() -> None:
    loaded = LoadedModel(tiny_architecture("mixtral"), chat_tokenizer(), "tiny")
    direction = Direction(training_direction(loaded.model, mixed_examples()[:3]), {})
    progress = Listening()
    settings = ScoringSettings(engine="finite_difference")
    prepare_engine(loaded, direction, settings, progress)
    assert "Use --engine jvp" in progress.warned[0]


def fitting(most_tokens: int, sizes: list[int]) -> PreparedEngine:
    """Runs out of memory on batches of more tokens."""

    def score(batch: Sequence[TokenizedExample]) -> list[ExampleScore]:
        tokens = len(batch) * max(len(example.input_ids) for example in batch)
        if tokens > most_tokens:
            raise torch.OutOfMemoryError
        sizes.append(tokens)
        return [ExampleScore(example.row, 0.0, 0.0) for example in batch]

    return PreparedEngine(score)


def test_a_batch_that_does_not_fit_is_halved_until_it_does() -> None:
    sizes: list[int] = []
    scores = score_examples(
        tiny_loaded(), mixed_examples(), fitting(150, sizes), batch_tokens=10_000
    )
    assert sorted(scores) == list(range(len(mixed_examples())))
    assert max(sizes) <= 150
    assert len(sizes) < len(mixed_examples())


def test_memory_of_the_cpu_that_runs_out_is_told_alike() -> None:
    def full(batch: Sequence[TokenizedExample]) -> list[ExampleScore]:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    with pytest.raises(UserError, match=r"does not fit into the memory of cpu"):
        score_examples(tiny_loaded(), mixed_examples(), PreparedEngine(full), batch_tokens=100)


def test_the_longest_row_is_tried_first_on_an_accelerator() -> None:
    longest = max(mixed_examples(), key=lambda example: len(example.input_ids))
    sizes: list[int] = []
    loaded = tiny_loaded()
    try_longest(loaded, mixed_examples(), fitting(10_000, sizes))
    assert sizes == []  # a CPU has one memory for all, and its rows take seconds
    elsewhere = replace(loaded, model=cast(Any, SimpleNamespace(device=torch.device("mps"))))
    try_longest(elsewhere, mixed_examples(), fitting(10_000, sizes))
    assert sizes == [len(longest.input_ids)]
    try_longest(elsewhere, [], fitting(10_000, sizes))
    with pytest.raises(UserError, match=f"^Row {longest.row} with its"):
        try_longest(elsewhere, mixed_examples(), fitting(len(longest.input_ids) - 1, []))


def test_a_row_that_does_not_fit_by_itself_is_named() -> None:
    longest = max(mixed_examples(), key=lambda example: len(example.input_ids))
    engine = fitting(len(longest.input_ids) - 1, [])
    with pytest.raises(UserError, match=rf"^Row {longest.row} with its \d+ tokens does not fit"):
        score_examples(tiny_loaded(), mixed_examples(), engine, batch_tokens=10_000)
