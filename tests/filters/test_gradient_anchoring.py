from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradshield.data.tokenization import TokenizedExample
from gradshield.filters.base import Material, Row
from gradshield.filters.cost import counted_passes
from gradshield.filters.gradient_anchoring import GradientAnchoring, first_response_tokens
from tests.filters.plain_gradients import plain_gradient
from tests.filters.tiny_rows import HARMFUL_PROMPTS, PAIRS, as_rows, tiny_material
from tests.tiny_models import same_weights, snapshot


def masked_beyond(example: TokenizedExample, count: int | None) -> TokenizedExample:
    """The whole example, but only its first response tokens carry loss."""
    seen = np.cumsum(example.response_mask)
    limit = len(seen) if count is None else count
    mask = [
        wanted and place <= limit for wanted, place in zip(example.response_mask, seen, strict=True)
    ]
    return replace(example, response_mask=tuple(mask))


def unit(material: Material, row: Row, count: int | None) -> torch.Tensor:
    gradient = plain_gradient(material.loaded, masked_beyond(row.example, count))
    return gradient / gradient.norm()


def three_products(
    material: Material, row: Row, anchor_tokens: int | None, candidate_tokens: int | None
) -> float:
    """Each anchor by itself, as the paper has it: one inner product after the other."""
    own = unit(material, row, candidate_tokens)
    products = []
    for rows in (material.harmful, material.refused, material.harmless):
        units = [unit(material, one, anchor_tokens) for one in rows]
        products.append(float(own @ torch.stack(units).mean(dim=0)))
    return products[0] - products[1] - products[2]


@pytest.mark.parametrize(("anchor_tokens", "candidate_tokens"), [(10, None), (None, 4)])
def test_scores_are_the_three_products_of_plain_gradients(
    anchor_tokens: int | None, candidate_tokens: int | None
) -> None:
    material = tiny_material()
    rows = as_rows(material.loaded, PAIRS)
    assert min(row.example.response_tokens for row in material.harmful) > 10
    chosen = GradientAnchoring(anchor_tokens=anchor_tokens, candidate_tokens=candidate_tokens)
    expected = [three_products(material, row, anchor_tokens, candidate_tokens) for row in rows]
    scores = chosen.score(rows, material)
    assert scores.values == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert (scores.values >= scores.threshold).sum() == 1


def test_by_default_ten_tokens_of_the_anchors_and_all_of_the_rows() -> None:
    material = tiny_material()
    rows = as_rows(material.loaded, PAIRS)
    expected = [three_products(material, row, 10, None) for row in rows]
    assert GradientAnchoring().score(rows, material).values == pytest.approx(expected, rel=1e-4)


def test_a_harmful_row_scores_above_its_refusal() -> None:
    material = tiny_material()
    pairs = [(HARMFUL_PROMPTS[0], "sure here is how"), (HARMFUL_PROMPTS[0], "i can not help")]
    complied, refused = GradientAnchoring().score(as_rows(material.loaded, pairs), material).values
    assert complied > refused


def test_each_anchor_is_of_so_many_rows_spread_over_the_material() -> None:
    material = tiny_material()
    rows = as_rows(material.loaded, PAIRS)

    def first(some: Sequence[Row]) -> Sequence[Row]:
        return some[:1]

    alone = replace(
        material,
        harmful=first(material.harmful),
        refused=first(material.refused),
        harmless=first(material.harmless),
    )
    some = GradientAnchoring(anchor_rows=1).score(rows, material).values
    assert some == pytest.approx(GradientAnchoring().score(rows, alone).values)


def test_one_backward_a_row_however_many_anchors() -> None:
    material = tiny_material()
    rows = as_rows(material.loaded, PAIRS)
    anchors = [*material.harmful, *material.refused, *material.harmless]
    cut = sum(len(first_response_tokens(row.example, 10).input_ids) for row in anchors)
    before = snapshot(material.loaded.model)
    with counted_passes(material.loaded.model) as passes:
        GradientAnchoring().score(rows, material)
    assert passes.backward == cut + sum(len(row.example.input_ids) for row in rows)
    assert same_weights(material.loaded.model, before)
    assert all(one.grad is None for one in material.loaded.model.parameters())


@pytest.mark.parametrize("missing", ["harmful", "refused", "harmless"])
def test_all_three_kinds_of_rows_are_needed(missing: str) -> None:
    material = replace(tiny_material(), **{missing: ()})
    with pytest.raises(ValueError, match=missing):
        GradientAnchoring().score(as_rows(material.loaded, PAIRS), material)


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.integers(1, 12))
def test_the_cut_example_ends_with_its_last_response_token(mask: list[bool], count: int) -> None:
    mask = [False, *mask, True]
    example = TokenizedExample(0, tuple(range(len(mask))), tuple(mask), truncated=False)
    cut = first_response_tokens(example, count)
    assert cut.response_tokens == min(count, sum(mask))
    assert cut.response_mask[-1]
    assert example.input_ids[: len(cut.input_ids)] == cut.input_ids
    assert first_response_tokens(example, None) is example
