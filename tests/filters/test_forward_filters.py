"""What holds for every filter that needs forward passes only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gradshield.filters.base import Filter, Need, Row
from gradshield.filters.compliance_vector import ComplianceVector
from gradshield.filters.cost import score_with_cost
from gradshield.filters.larf import Larf
from gradshield.filters.refusal_likelihood import RefusalLikelihood
from gradshield.filters.representation_matching import RepresentationMatching
from gradshield.filters.word_lists import HarmWords, HarmWordsAnswered
from gradshield.filters.zero_shot import ZeroShotJudge
from tests.filters.tiny_rows import PAIRS, as_rows, tiny_material
from tests.tiny_models import same_weights, snapshot

CHOSEN: list[Filter] = [
    RepresentationMatching(),
    Larf(),
    ComplianceVector(),
    ZeroShotJudge(),
    RefusalLikelihood(),
    HarmWords(),
    HarmWordsAnswered(),
]
each_filter = pytest.mark.parametrize("chosen", CHOSEN, ids=lambda one: one.name)


@each_filter
def test_a_row_scores_the_same_alone_and_in_company(chosen: Filter) -> None:
    material = tiny_material()
    rows = as_rows(material.loaded, PAIRS)
    together = chosen.score(rows, material).values
    alone = [
        chosen.score([Row(row.conversation, replace(row.example, row=0))], material).values[0]
        for row in rows
    ]
    assert together == pytest.approx(alone, abs=2e-5)


@each_filter
def test_the_model_stays_as_it_was_and_no_gradient_is_taken(chosen: Filter) -> None:
    material = tiny_material()
    model = material.loaded.model
    model.lm_head.weight.requires_grad_(False)
    before = snapshot(model)
    flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    scores, cost = score_with_cost(chosen, as_rows(material.loaded, PAIRS), material)
    assert (cost.backwards, cost.trainings) == (0.0, 0)
    assert cost.forwards > 0 or "words" in chosen.name
    assert same_weights(model, before)
    assert {name: p.requires_grad for name, p in model.named_parameters()} == flags
    assert not model.training
    hooks = [hook for module in model.modules() for hook in module._forward_hooks.values()]
    # transformers keeps hooks of its own once hidden states were asked for.
    assert all("output_capturing_hook" in hook.__qualname__ for hook in hooks)
    assert scores.values.dtype == np.float64


@each_filter
def test_it_uses_no_more_than_it_says_it_needs(chosen: Filter) -> None:
    material = tiny_material()
    given = replace(
        material,
        harmful=material.harmful if Need.HARMFUL_ANSWERS in chosen.needs else (),
        refused=material.refused if Need.REFUSALS in chosen.needs else (),
        harmless=(),
    )
    rows = as_rows(material.loaded, PAIRS)
    assert np.array_equal(chosen.score(rows, given).values, chosen.score(rows, material).values)
