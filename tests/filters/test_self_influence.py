from __future__ import annotations

import math

import pytest

from gradshield.filters.cost import Cost, score_with_cost
from gradshield.filters.self_influence import SelfInfluence
from tests.filters.plain_gradients import plain_gradient
from tests.filters.tiny_rows import PAIRS, as_rows, tiny_material


def test_both_logarithms_of_plain_gradients_and_response_tokens() -> None:
    material = tiny_material()
    rows = as_rows(material.loaded, PAIRS)
    scores, cost = score_with_cost(SelfInfluence(), rows, material)
    for row, value in zip(rows, scores.values, strict=True):
        gradient = plain_gradient(material.loaded, row.example)
        tokens = sum(row.example.response_mask)
        expected = math.log(float(gradient @ gradient) + 1) + math.log(tokens + 1)
        assert value == pytest.approx(expected, rel=1e-5)
    assert cost == Cost(1.0, 1.0, 0)


def test_the_highest_fifth_is_removed() -> None:
    material = tiny_material()
    scores = SelfInfluence().score(as_rows(material.loaded, PAIRS), material)
    removed = scores.values >= scores.threshold
    assert removed.sum() == 1
    assert removed[scores.values.argmax()]
