"""A model so small that its scores can be written down."""

from __future__ import annotations

import math

import pytest
import torch

from gradshield.data.tokenization import TokenizedExample
from gradshield.probes.direction import Direction
from gradshield.scoring.engines import Engine, ExampleScore
from gradshield.scoring.engines.base import Reduction
from gradshield.scoring.engines.finite_difference import FiniteDifference
from gradshield.scoring.engines.jvp import ForwardMode
from gradshield.scoring.engines.per_example import PerExample
from tests.tiny_models import OneLayerModel

LAYER = "body.blocks.0.linear"
EMBEDDING = torch.tensor([[1.0, 0, 0], [0, 2, 0], [0, 0, 1], [0, 0, 1], [0, 0, 1]])
# W = 0, so that all five tokens are always equally likely.
EXAMPLE = TokenizedExample(7, (0, 1, 2), (False, True, True), truncated=False)


def direction(entries: dict[tuple[int, int], float]) -> Direction:
    tensor = torch.zeros(5, 3)
    for place, value in entries.items():
        tensor[place] = value
    return Direction({LAYER: tensor}, {})


def score(engine: Engine, towards: Direction) -> ExampleScore:
    model = OneLayerModel(EMBEDDING, torch.zeros(5, 3))
    [result] = engine.prepare(model, towards, "mean", []).score([EXAMPLE])
    return result


ENGINES: list[Engine] = [PerExample(), ForwardMode(), FiniteDifference(step=1e-2)]


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_value_and_sign_are_those_of_the_definition(engine: Engine) -> None:
    # grad l = 1/2 [(u - e1) (1,0,0) + (u - e2) (0,2,0)] with u = (.2, .2, .2, .2, .2), so
    # <grad l, g> = 1/2 [3 (.2 - 1) 1 - 4 (.2 - 1) 2] = 2 and |g| = 5.
    result = score(engine, direction({(1, 0): 3.0, (2, 1): -4.0}))
    assert result.row == 7
    assert result.fihs == pytest.approx(-2 / 5, abs=2e-4)
    assert result.loss == pytest.approx(math.log(5), rel=1e-4)


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_an_example_that_teaches_what_raises_the_proxy_scores_positive(
    engine: Engine,
) -> None:
    # S rises with the logit of token 1 after token 0, and token 1 after token 0 is in the example.
    towards = direction({(1, 0): 1.0})
    assert score(engine, towards).fihs == pytest.approx(0.4, abs=2e-4)
    away = direction({(1, 0): -1.0})
    assert score(engine, away).fihs == pytest.approx(-0.4, abs=2e-4)


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_the_length_of_the_direction_does_not_matter(
    engine: Engine,
) -> None:
    short = score(engine, direction({(1, 0): 0.003, (2, 1): -0.004}))
    assert short.fihs == pytest.approx(-0.4, abs=2e-4)


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_tokens_share_the_score_out(engine: Engine) -> None:
    # The first response token gives -1/2 x 3 (.2 - 1) / 5, the second 1/2 x 4 (.2 - 1) 2 / 5.
    result = score(engine, direction({(1, 0): 3.0, (2, 1): -4.0}))
    assert result.token_fihs == pytest.approx((0.24, -0.64), abs=3e-4)
    assert sum(result.token_fihs or ()) == pytest.approx(result.fihs)


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
@pytest.mark.parametrize(
    ("reduction", "divided_by"),
    [("mean", 2), ("sum", 1), ("root", 2**0.5), ("worst_window", 1), ("sum_and_worst", 1 / 2)],
)
def test_reduction_divides_the_sum_over_the_response_tokens(
    engine: Engine, reduction: Reduction, divided_by: float
) -> None:
    # As above: the sum over both response tokens is -4 / 5, and they are one window, which
    # counts on top of the sum or alone; the loss stays a mean.
    model = OneLayerModel(EMBEDDING, torch.zeros(5, 3))
    towards = direction({(1, 0): 3.0, (2, 1): -4.0})
    [result] = engine.prepare(model, towards, reduction, []).score([EXAMPLE])
    assert result.fihs == pytest.approx(-4 / 5 / divided_by, abs=4e-4)
    assert result.loss == pytest.approx(math.log(5), rel=1e-4)
