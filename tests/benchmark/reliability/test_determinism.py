"""Scores and decisions do not depend on batches, order and shards; and it is seen if they do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradshield.benchmark.reliability.determinism import (
    TOLERANCES,
    Arrangement,
    arranged_scores,
    score_spread,
)
from gradshield.data.tokenization import TokenizedExample
from gradshield.models.load import LoadedModel
from gradshield.probes.direction import Direction, training_direction
from gradshield.scoring.engines import ENGINES, ExampleScore, PreparedEngine
from gradshield.threshold import decide
from tests.tiny_models import chat_example, mixed_examples, tiny_loaded

WORDS = ("the", "river", "Loire", "total", "42 EUR", "file", "yes", "no", "hello", "slowly")
ALONE = Arrangement(batch_tokens=1)

arrangements = st.builds(
    Arrangement,
    batch_tokens=st.integers(1, 3000),
    order=st.none() | st.integers(0, 2**32 - 1),
    shards=st.integers(1, 6),
)


@lru_cache
def rows(seed: int, count: int) -> tuple[TokenizedExample, ...]:
    """Exchanges of one to nine words each way, so that several share a length."""
    generator = np.random.default_rng(seed)

    def text() -> str:
        return " ".join(generator.choice(WORDS, generator.integers(1, 10)))

    return tuple(chat_example(row, text(), text()) for row in range(count))


@lru_cache
def ready(name: str) -> tuple[LoadedModel, PreparedEngine]:
    """The tiny model and an engine with a direction that is the gradient of something."""
    loaded = tiny_loaded()
    direction = Direction(training_direction(loaded.model, mixed_examples()[:3]), {})
    engine = ENGINES[name].prepare(loaded.model, direction, "sum_and_worst", mixed_examples())
    return loaded, engine


@pytest.mark.parametrize("name", list(TOLERANCES))
@given(arrangement=arrangements)
@settings(max_examples=4)
def test_rows_are_scored_and_decided_as_if_alone(name: str, arrangement: Arrangement) -> None:
    loaded, engine = ready(name)
    found = score_spread(loaded, rows(0, 12), engine, [ALONE, arrangement], rows(1, 20), level=0.25)
    assert found.score_difference < TOLERANCES[name]
    assert found.threshold_difference < 2 * TOLERANCES[name]
    assert found.same_decisions
    assert found.repeats


def test_the_rows_of_these_tests_are_kept_in_part() -> None:
    """Else the decisions above would be the same whatever the scores."""
    loaded, engine = ready("jvp")
    scores, harmless = (
        arranged_scores(loaded, some, engine, Arrangement(3000))
        for some in (rows(0, 12), rows(1, 20))
    )
    removed = scores >= decide(scores, harmless, level=0.25).threshold
    assert 0 < sum(removed) < 12


THREADS = """
from gradshield.benchmark.reliability.determinism import Arrangement, score_spread
from tests.benchmark.reliability.test_determinism import ready, rows
loaded, engine = ready("finite_difference")
few = [Arrangement(600, threads=threads) for threads in (1, 2)]
found = score_spread(loaded, rows(0, 4), engine, few)
print(found.score_difference, found.repeats)
"""


def test_two_threads_score_like_one() -> None:
    # In a process of its own: threads that wait for each other, and do not sleep meanwhile, would
    # take the cores of the other tests.
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-c", THREADS]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    difference, repeats = said.stdout.split()
    assert float(difference) < TOLERANCES["finite_difference"]
    assert repeats == "True"


def engine_that_sees(company: float) -> PreparedEngine:
    """A row's score is its length, plus so much for each other row of its batch."""

    def score(batch: Sequence[TokenizedExample]) -> list[ExampleScore]:
        others = company * (len(batch) - 1)
        return [ExampleScore(row.row, len(row.input_ids) + others, 0.0) for row in batch]

    return PreparedEngine(score)


def test_a_score_that_depends_on_its_batch_is_found_out() -> None:
    loaded, _ = ready("jvp")
    examples = rows(0, 24)
    lengths = np.array([len(row.input_ids) for row in examples])
    together = Arrangement(batch_tokens=10**6)
    found = score_spread(loaded, examples, engine_that_sees(0.5), [ALONE, together], rule="paper")
    assert found.score_difference == pytest.approx(0.5 * 23 / np.std(lengths))
    assert found.worst == together
    assert (found.rows, found.arrangements) == (24, 2)
    # Each with its own threshold, which moves along, no row changes sides.
    assert found.threshold_difference == pytest.approx(found.score_difference)
    assert found.rows_at_edge > 0
    assert found.same_decisions


def test_rows_that_change_sides_are_counted() -> None:
    loaded, _ = ready("jvp")
    examples, harmless = rows(0, 24), rows(0, 24)

    def score(batch: Sequence[TokenizedExample]) -> list[ExampleScore]:
        # Row 5 is the best of all if it is in company, and the worst alone.
        fives = {5: 1e3 if len(batch) > 1 else -1e3}
        return [ExampleScore(r.row, fives.get(r.row, len(r.input_ids)), 0.0) for r in batch]

    few = [ALONE, Arrangement(batch_tokens=10**6)]
    options = {"rule": "calibrated", "level": 0.25}
    found = score_spread(loaded, examples, PreparedEngine(score), few, harmless, **options)
    assert found.rows_moved >= 1
    assert not found.same_decisions


def test_numbers_that_differ_at_random_are_found_out() -> None:
    loaded, _ = ready("jvp")
    generator = np.random.default_rng(0)

    def score(batch: Sequence[TokenizedExample]) -> list[ExampleScore]:
        return [ExampleScore(row.row, float(generator.normal()), 0.0) for row in batch]

    found = score_spread(loaded, rows(0, 24), PreparedEngine(score), [ALONE], rule="paper")
    assert not found.repeats


def test_an_order_is_undone() -> None:
    loaded, _ = ready("jvp")
    found = arranged_scores(loaded, rows(0, 24), engine_that_sees(0), Arrangement(500, 7, 4))
    assert list(found) == [len(row.input_ids) for row in rows(0, 24)]
