from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gradshield.filters.representation_matching import RepresentationMatching
from tests.filters.tiny_rows import PAIRS, as_rows, tiny_material
from tests.models.states_alone import cosine, states_alone


@pytest.mark.parametrize("nearest", [1, 2, 3])
def test_the_score_is_the_mean_cosine_to_the_nearest_harmful_rows(nearest: int) -> None:
    material = tiny_material()
    rows = as_rows(material.loaded, PAIRS)
    scores = RepresentationMatching(nearest).score(rows, material)
    for row, value in zip(rows, scores.values, strict=True):
        own = states_alone(material.loaded, row.example, 2)[-1]
        cosines = sorted(
            cosine(own, states_alone(material.loaded, one.example, 2)[-1])
            for one in material.harmful
        )
        assert value == pytest.approx(np.mean(cosines[-nearest:]), abs=1e-5)


def test_a_copy_of_a_harmful_row_scores_1_and_is_the_fifth_that_goes() -> None:
    material = tiny_material()
    others = [*PAIRS[:2], PAIRS[3], ("hello", "it is late")]
    rows = as_rows(material.loaded, [*others, ("how to steal", "sure here is how")])
    scores = RepresentationMatching().score(rows, material)
    assert scores.values[-1] == pytest.approx(1.0, abs=1e-6)
    assert (scores.values >= scores.threshold).tolist() == [False] * 4 + [True]


def test_it_needs_harmful_rows() -> None:
    material = replace(tiny_material(), harmful=())
    with pytest.raises(ValueError, match="representation_matching"):
        RepresentationMatching().score(as_rows(material.loaded, PAIRS), material)
