from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from gradshield.filters.base import Material
from gradshield.filters.compliance_vector import (
    ComplianceVector,
    best_layer,
    between_share,
    unit_difference,
)
from tests.filters.tiny_rows import PAIRS, as_rows, tiny_material
from tests.models.states_alone import states_alone


def mean_states_alone(material: Material, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean response states of answered and of refused prompts, [pairs, hidden] each."""
    answered, refused = (
        np.stack(
            [
                states_alone(material.loaded, row.example, layer)[
                    list(row.example.response_mask)
                ].mean(axis=0)
                for row in rows
            ]
        )
        for rows in (material.harmful, material.refused)
    )
    return answered, refused


def projected_alone(material: Material, layer: int, pairs: list[tuple[str, str]]) -> list[float]:
    answered, refused = mean_states_alone(material, layer)
    vector = answered.mean(axis=0) - refused.mean(axis=0)
    values = []
    for row in as_rows(material.loaded, pairs):
        states = states_alone(material.loaded, row.example, layer)
        mask = np.array(row.example.response_mask)
        shift = states[mask].mean(axis=0) - states[np.flatnonzero(mask)[0] - 1]
        values.append(float(shift @ vector / np.linalg.norm(vector)))
    return values


@pytest.mark.parametrize("layer", [1, 2])
def test_the_score_is_the_shift_of_the_answer_along_the_vector(layer: int) -> None:
    material = tiny_material()
    scores = ComplianceVector(layer).score(as_rows(material.loaded, PAIRS), material)
    assert scores.values == pytest.approx(projected_alone(material, layer, PAIRS), abs=1e-4)


def test_the_layer_is_that_of_the_highest_share() -> None:
    material = tiny_material()
    shares = {layer: analysis_of_variance(*mean_states_alone(material, layer)) for layer in (1, 2)}
    assert abs(shares[1] - shares[2]) > 1e-3
    layer = max(shares, key=lambda one: shares[one])
    scores = ComplianceVector().score(as_rows(material.loaded, PAIRS), material)
    assert scores.values == pytest.approx(projected_alone(material, layer, PAIRS), abs=1e-4)


def analysis_of_variance(ones: np.ndarray, others: np.ndarray) -> float:
    """Between-class by total scatter from scipy's F statistic of the projections."""
    vector = ones.mean(axis=0) - others.mean(axis=0)
    scale = np.concatenate([ones, others]).std(axis=0)
    f = stats.f_oneway(ones / scale @ vector, others / scale @ vector).statistic
    return float(f / (f + len(ones) + len(others) - 2))


@pytest.mark.parametrize("seed", range(5))
def test_the_share_is_that_of_an_analysis_of_variance(seed: int) -> None:
    generator = np.random.default_rng(seed)
    ones = generator.normal(0.3, [1, 2, 3], (7, 3)).astype(np.float32)
    others = generator.normal(0, [1, 2, 3], (5, 3)).astype(np.float32)
    vector = unit_difference(ones, others)
    found = between_share(ones, others, vector)
    assert found == pytest.approx(analysis_of_variance(ones, others), rel=1e-5)
    assert np.linalg.norm(vector) == pytest.approx(1)


def test_classes_apart_share_everything_and_equal_ones_nothing() -> None:
    ones = np.tile(np.float32([1, 5]), (3, 1))
    others = np.tile(np.float32([-1, 5]), (3, 1))
    vector = unit_difference(ones, others)
    assert vector.tolist() == [1.0, 0.0]
    assert between_share(ones, others, vector) == pytest.approx(1.0)
    assert between_share(ones, ones, unit_difference(ones, ones)) == 0.0


def test_the_layer_that_tells_the_classes_apart_is_taken() -> None:
    generator = np.random.default_rng(0)
    compliant = generator.normal(size=(20, 3, 4)).astype(np.float32)
    refused = generator.normal(size=(20, 3, 4)).astype(np.float32)
    compliant[:, 1, 2] += 8
    place, vector = best_layer(compliant, refused)
    assert place == 1
    assert vector[2] > 0.95


def test_it_needs_refusals_of_the_same_prompts() -> None:
    material = replace(tiny_material(), refused=())
    with pytest.raises(ValueError, match="compliance_vector"):
        ComplianceVector().score(as_rows(material.loaded, PAIRS), material)
