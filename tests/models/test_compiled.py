from __future__ import annotations

import numpy as np
import pytest

from gradshield.models.compiled import compile_blocks_below
from gradshield.probes.direction import Direction, training_direction
from gradshield.scoring.engines import ENGINES
from tests.tiny_architectures import tiny_architecture
from tests.tiny_models import mixed_examples, tiny_llama


@pytest.mark.parametrize("name", ["finite_difference", "jvp", "per_example"])
def test_compiled_blocks_change_no_score(name: str) -> None:
    plain, compiled = tiny_llama(), tiny_llama()
    direction = Direction(training_direction(plain, mixed_examples()[:3], modules="late_mlp"), {})
    # Traced and not translated: what a backend makes of it is its own matter.
    assert compile_blocks_below(compiled, list(direction.tensors), backend="eager") == 1
    engine = ENGINES[name]
    one, other = (
        np.array(
            [
                score.fihs
                for batch in (mixed_examples()[:4], mixed_examples()[4:])
                for score in engine.prepare(model, direction, "sum", mixed_examples()).score(batch)
            ]
        )
        for model in (plain, compiled)
    )
    np.testing.assert_allclose(one, other, atol=1e-3 * np.abs(one).max())


def test_nothing_is_compiled_where_blocks_cannot_be_told() -> None:
    model = tiny_architecture("bloom")
    direction = training_direction(model, mixed_examples()[:1], modules="late_mlp")
    assert compile_blocks_below(model, list(direction), backend="eager") == 0
