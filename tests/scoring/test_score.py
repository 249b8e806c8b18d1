from __future__ import annotations

import pytest

from gradshield.errors import UserError
from gradshield.scoring.engines import ENGINES
from gradshield.scoring.score import choose_engine, score_examples
from tests.tiny_models import (
    losses,
    mixed_examples,
    random_direction,
    same_weights,
    snapshot,
    tiny_loaded,
)


def test_every_example_is_scored_once_and_counted() -> None:
    loaded = tiny_loaded()
    counts: list[int] = []
    scores = score_examples(
        loaded,
        random_direction(loaded.model),
        mixed_examples(),
        engine=ENGINES["finite_difference"],
        batch_tokens=100,
        progress=counts.append,
    )
    assert sorted(scores) == list(range(len(mixed_examples())))
    assert sum(counts) == len(mixed_examples())
    assert len(counts) > 1
    found = [scores[row].loss for row in sorted(scores)]
    assert found == pytest.approx(losses(mixed_examples(), loaded.model), rel=1e-4)


def test_an_interrupted_run_leaves_the_model_as_it_was() -> None:
    loaded = tiny_loaded()
    before = snapshot(loaded.model)

    def interrupt(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as kept_alive:
        score_examples(
            loaded,
            random_direction(loaded.model),
            mixed_examples(),
            engine=ENGINES["finite_difference"],
            batch_tokens=100,
            progress=interrupt,
        )
    assert kept_alive.value is not None
    assert same_weights(loaded.model, before)


def test_auto_takes_the_engine_that_suits_the_precision() -> None:
    loaded = tiny_loaded()
    assert choose_engine("auto", loaded).name == "finite_difference"
    assert choose_engine("per_example", loaded).name == "per_example"


def test_an_unknown_engine_is_named_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="Unknown engine jvp: choose auto or one of finite_diff"):
        choose_engine("jvp", tiny_loaded())
