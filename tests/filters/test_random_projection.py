from __future__ import annotations

import pytest
import torch

from gradshield.filters import random_projection
from gradshield.filters.random_projection import RademacherProjection


def matrix(projection: RademacherProjection, numbers: int) -> torch.Tensor:
    """The projection as a matrix, [numbers, dimensions]."""
    return torch.stack([projection(row) for row in torch.eye(numbers)])


def test_it_is_a_matrix_of_signs_of_unit_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    # Five blocks, the last one shorter than the others.
    monkeypatch.setattr(random_projection, "MOST_SIGNS", 40)
    projection = RademacherProjection(8, seed=3)
    signs = matrix(projection, 23)
    assert torch.allclose(signs.abs(), torch.full((23, 8), 8**-0.5))
    assert len({tuple(row) for row in signs.tolist()}) > 15
    vector = torch.randn(23, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(projection(vector), vector @ signs, atol=1e-6)


def test_the_signs_depend_on_the_seed_and_not_on_the_vectors_length() -> None:
    assert torch.equal(
        matrix(RademacherProjection(8, 1), 20)[:5], matrix(RademacherProjection(8, 1), 5)
    )
    assert not torch.equal(
        matrix(RademacherProjection(8, 1), 5), matrix(RademacherProjection(8, 2), 5)
    )


def test_signs_are_balanced_and_independent() -> None:
    signs = matrix(RademacherProjection(4096, seed=0), 12) * 64
    # Five standard deviations of a mean of 4096 signs.
    assert signs.mean(dim=1).abs().max() < 5 / 64
    products = signs @ signs.T / 4096
    assert (products - torch.eye(12)).abs().max() < 5 / 64


def test_lengths_and_cosines_stay_about_the_same() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 3000, generator=generator)
    second += first
    projection = RademacherProjection(8192, seed=0)
    low = torch.stack([projection(first), projection(second)])
    assert low.norm(dim=1).tolist() == pytest.approx(
        [float(first.norm()), float(second.norm())], rel=0.04
    )
    cosine = torch.cosine_similarity(first, second, dim=0)
    assert torch.cosine_similarity(low[0], low[1], dim=0) == pytest.approx(float(cosine), abs=0.05)
