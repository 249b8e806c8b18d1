"""GradShield as a filter, on a tiny model, against the interface of users and plain gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradshield.config import ThresholdSettings
from gradshield.filters import Material, filter_by_name
from gradshield.filters.fihs import ALL_PARAMETERS, GRADSHIELD, PAPER, FihsFilter
from gradshield.filters.fihs_form import WARM_UP, FihsForm
from gradshield.finetuning.supervised import finetune
from gradshield.models.layers import block_weights
from gradshield.probes.direction import proxy_gradient
from gradshield.probes.proxies import OwnAnswers
from gradshield.probes.proxies.first_token import make_first_token
from gradshield.scoring.reference import reference_examples
from gradshield.shield import GradShield
from gradshield.threshold import decide
from tests.filters.test_gradient_anchoring import masked_beyond
from tests.filters.tiny_rows import PAIRS, as_rows, tiny_material
from tests.run.few_probes import PROMPTS, few_probes
from tests.tiny_models import full_logits_loss, same_weights, snapshot

pytestmark = pytest.mark.filterwarnings("ignore:This model answers")


@pytest.fixture(autouse=True, scope="module")
def _few() -> Iterator[None]:
    with few_probes():
        yield


def values(material: Material, **form: Any) -> np.ndarray:
    """Scores of the pairs in a form; quick ones unless the form says otherwise."""
    settings = {"proxy": "first_token", "take_out": "nothing", "reduction": "sum", **form}
    chosen = FihsFilter("any", FihsForm.model_validate(settings), ThresholdSettings())
    found: np.ndarray = chosen.score(as_rows(material.loaded, PAIRS), material).values
    return found


def plain_values(
    material: Material, prompts: Sequence[str], modules: str, *, count: int | None, mean: bool
) -> np.ndarray:
    """-<grad l, g> / |g| with a plain backward pass, of the first `count` response tokens."""
    loaded = material.loaded
    proxy = make_first_token(loaded.tokenizer, OwnAnswers((), ()))
    direction = proxy_gradient(loaded.model, loaded.tokenizer, proxy, prompts, modules=modules)
    found = []
    for row in as_rows(loaded, PAIRS):
        example = masked_beyond(row.example, count)
        loaded.model.zero_grad()
        full_logits_loss(loaded.model, example).backward()
        product = sum(
            float((loaded.model.get_parameter(f"{name}.weight").grad * part).sum())
            for name, part in direction.tensors.items()
        )
        found.append(-product / direction.norm * (1 if mean else example.response_tokens))
    loaded.model.zero_grad()
    return np.array(found)


def warm_up_material() -> Material:
    """Rows enough for more steps than those in which the learning rate rises from zero."""
    material = tiny_material()
    return replace(material, harmless=[*material.harmless] * 8)


def close(found: np.ndarray, expected: np.ndarray) -> bool:
    """Up to the error of finite differences."""
    return bool(np.abs(found - expected).max() < 2e-3 * np.abs(expected).max())


def test_it_scores_and_decides_as_users_are_served() -> None:
    material = tiny_material()
    rows = as_rows(material.loaded, PAIRS)
    found = GRADSHIELD.score(rows, material)
    shield = GradShield(material.loaded.model, material.loaded.tokenizer)
    lines = shield.score(
        [
            {
                "messages": [
                    {"role": "user", "content": prompt},
                    {"role": "assistant", "content": answer},
                ]
            }
            for prompt, answer in PAIRS
        ]
    )
    assert found.values == pytest.approx([line["fihs"] for line in lines], rel=1e-4, abs=1e-6)
    rule = ThresholdSettings()
    decision = decide(
        found.values, shield.reference, rule=rule.rule, level=rule.level, seed=rule.seed
    )
    assert found.threshold == pytest.approx(decision.threshold, rel=1e-4)
    assert found.trainings == 0


def test_the_papers_form_is_a_dot_product_over_all_matrices() -> None:
    material = tiny_material()
    found = PAPER.score(as_rows(material.loaded, PAIRS), material)
    expected = plain_values(material, PROMPTS["harmful"], ALL_PARAMETERS, count=None, mean=True)
    assert close(found.values, expected)
    assert len(block_weights(material.loaded.model, ALL_PARAMETERS)) == 14


@pytest.mark.parametrize("first_tokens", [1, 6])
def test_only_the_first_tokens_of_a_row_count(first_tokens: int) -> None:
    material = tiny_material()
    expected = plain_values(material, PROMPTS["harmful"], "mlp", count=first_tokens, mean=False)
    found = values(material, modules="mlp", first_tokens=first_tokens)
    assert close(found, expected)
    assert not close(found, values(material, modules="mlp"))


@pytest.mark.parametrize("reduction", ["sum_and_worst", "worst_window", "sum", "mean", "root"])
def test_more_first_tokens_than_there_are_change_nothing(reduction: str) -> None:
    material = tiny_material()
    some = values(material, reduction=reduction, first_tokens=1000)
    assert some == pytest.approx(values(material, reduction=reduction))


def test_first_tokens_count_for_the_reference_rows_too() -> None:
    material = tiny_material()
    rule = ThresholdSettings(rule="calibrated", level=0.3)
    form = FihsForm(proxy="first_token", take_out="nothing", reduction="sum", first_tokens=2)
    found = FihsFilter("any", form, rule).score(as_rows(material.loaded, PAIRS), material)
    loaded = material.loaded
    proxy = make_first_token(loaded.tokenizer, OwnAnswers((), ()))
    direction = proxy_gradient(
        loaded.model, loaded.tokenizer, proxy, PROMPTS["harmful"], modules=form.modules
    )
    reference = []
    for example in reference_examples(loaded):
        loaded.model.zero_grad()
        (2 * full_logits_loss(loaded.model, masked_beyond(example, 2))).backward()
        product = sum(
            float((loaded.model.get_parameter(f"{name}.weight").grad * part).sum())
            for name, part in direction.tensors.items()
        )
        reference.append(-product / direction.norm)
    decision = decide(found.values, np.array(reference), rule="calibrated", level=0.3, seed=0)
    assert found.threshold == pytest.approx(decision.threshold, rel=2e-2)


def test_a_direction_of_full_rank_scores_as_the_whole_one_and_a_cut_one_does_not() -> None:
    material = tiny_material()
    whole = values(material)
    # No matrix of the tiny model has more than 32 directions.
    assert values(material, rank=32) == pytest.approx(whole, rel=1e-2, abs=2e-3)
    assert values(material, rank=1000) == pytest.approx(whole, rel=1e-2, abs=2e-3)
    assert not close(values(material, rank=1), whole)


def test_the_probes_decide_the_scores() -> None:
    material = tiny_material()
    found = [
        values(material),
        values(material, probes=1),
        values(material, probe_source="anchors"),
        values(material, probe_source="anchors", probes=1),
    ]
    for place, one in enumerate(found):
        assert not any(close(one, other) for other in found[:place])


def test_after_a_warm_up_scores_are_those_of_the_model_trained_so_and_it_is_put_back() -> None:
    material, other = warm_up_material(), warm_up_material()
    model = material.loaded.model
    before = snapshot(model)
    flags = [one.requires_grad for one in model.parameters()]
    name = "gradshield:warm_up=true,proxy=first_token,take_out=nothing,reduction=sum"
    found = filter_by_name(name).score(as_rows(material.loaded, PAIRS), material)
    assert found.trainings == 1
    assert same_weights(model, before)
    assert [one.requires_grad for one in model.parameters()] == flags
    assert not model.training
    trained = other.loaded
    finetune(trained.model, trained.tokenizer, [row.example for row in other.harmless], WARM_UP)
    assert found.values == pytest.approx(values(other), rel=1e-3, abs=1e-5)
    assert not np.allclose(found.values, values(material), rtol=1e-3)
