from __future__ import annotations

import numpy as np
import pytest
import torch

from gradshield.probes.direction import Direction, training_direction
from gradshield.scoring.engines.finite_difference import (
    STEP,
    FiniteDifference,
    choose_step,
    moved_both_ways,
)
from tests.tiny_architectures import tiny_architecture
from tests.tiny_models import chat_example, mixed_examples, random_direction, tiny_llama

TRUE = np.array([3.0, -4.0])


def with_errors(step: float, curvature: float, rounding: float) -> np.ndarray:
    """Central differences of true values: curvature grows as the square, rounding as 1 / step."""
    # Rounding differs from step to step without a pattern, and so does this sign.
    sign = 1 if int(np.log2(step)) % 2 else -1
    return TRUE * (1 + curvature * step**2 + sign * rounding / step)


def test_the_step_where_curvature_and_rounding_balance_is_found_from_either_side() -> None:
    best = 2.0**-8
    for first in (2.0**-11, 2.0**-10, best, 2.0**-6, 2.0**-5):
        step, error = choose_step(lambda step: with_errors(step, 4.0**8 / 20, 2.0**-8 / 40), first)
        assert step in (best / 2, best)
        assert 0.01 < error < 0.2


def test_a_first_step_that_is_good_enough_is_kept() -> None:
    asked: list[float] = []

    def scores(step: float) -> np.ndarray:
        asked.append(step)
        return TRUE * (1 + 1e-4 * step)

    assert choose_step(scores, 1.0)[0] == 1.0
    assert sorted(set(asked)) == [1.0, 2.0]


def test_scores_of_zero_have_no_error() -> None:
    assert choose_step(lambda step: np.zeros(3), 1.0) == (1.0, 0.0)


def test_the_first_step_goes_with_the_cube_root_of_the_precision() -> None:
    model = tiny_llama()
    direction = Direction(training_direction(model, mixed_examples()[:3]), {})
    single = FiniteDifference().prepare(model, direction, "mean", mixed_examples())
    assert single.notes[0].startswith("step 0.002,")
    assert single.step == pytest.approx(2e-3, rel=0.02)  # for whoever goes on with these scores
    assert STEP * torch.finfo(torch.float32).eps ** (1 / 3) == pytest.approx(2e-3, rel=0.02)


def test_an_estimated_error_of_more_than_one_percent_is_a_warning() -> None:
    # Routing makes the loss jump, so that the difference depends on the step.
    model = tiny_architecture("mixtral")
    direction = Direction(training_direction(model, mixed_examples()[:3]), {})
    prepared = FiniteDifference().prepare(model, direction, "mean", mixed_examples())
    assert prepared.warning is not None
    assert "Use --engine jvp" in prepared.warning
    smooth = tiny_llama()
    prepared = FiniteDifference().prepare(
        smooth, random_direction(smooth), "mean", mixed_examples()
    )
    assert prepared.warning is None


def test_what_lies_below_the_direction_is_computed_once() -> None:
    model = tiny_llama()
    direction = random_direction(model)
    late = {name: part for name, part in direction.tensors.items() if ".layers.1." in name}
    rows: dict[str, int] = {}
    for name in ("model.layers.0.mlp", "model.layers.1.mlp"):
        model.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: rows.__setitem__(name, len(output))
        )
    ids = torch.tensor([chat_example(0, "Hi", "Hello").input_ids] * 3)
    with torch.no_grad(), moved_both_ways(model, type(direction)(late, {}), 1e-3):
        states = model.model(input_ids=ids).last_hidden_state
    assert rows == {"model.layers.0.mlp": 3, "model.layers.1.mlp": 6}
    assert len(states) == 6


def test_each_version_runs_the_weights_it_should() -> None:
    model = tiny_llama()
    direction = random_direction(model)
    ids = torch.tensor([chat_example(0, "Hi", "Hello").input_ids] * 2)
    with torch.no_grad():
        with moved_both_ways(model, direction, 0.5):
            states = model.model(input_ids=ids).last_hidden_state
        for sign, version in zip((1, -1), states.chunk(2), strict=True):
            for name, part in direction.tensors.items():
                model.get_submodule(name).weight.add_(part, alpha=sign * 0.5 / direction.norm)
            torch.testing.assert_close(version, model.model(input_ids=ids).last_hidden_state)
            for name, part in direction.tensors.items():
                model.get_submodule(name).weight.sub_(part, alpha=sign * 0.5 / direction.norm)
