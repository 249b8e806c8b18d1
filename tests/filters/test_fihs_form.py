"""Forms of FIHS: how they are read, and the direction and the model that each stands for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from gradshield.config import ScoringSettings
from gradshield.errors import UserError
from gradshield.filters import filter_by_name
from gradshield.filters.fihs import GRADSHIELD
from gradshield.filters.fihs_form import (
    FihsForm,
    first_tokens_only,
    form_direction,
    form_model,
    read_form,
)
from gradshield.probes.direction import proxy_gradient
from gradshield.probes.prompt_sets import load_prompts
from gradshield.probes.proxies import OwnAnswers
from gradshield.probes.proxies.first_token import make_first_token
from gradshield.scoring.engines import ExampleScore
from gradshield.scoring.engines.base import WINDOW, Reduction
from tests.filters.test_fihs import warm_up_material
from tests.filters.tiny_rows import HARMFUL_PROMPTS, tiny_material
from tests.run.few_probes import PROMPTS, few_probes
from tests.tiny_models import losses, mixed_examples, same_weights, snapshot

pytestmark = pytest.mark.filterwarnings("ignore:This model answers")

SIMPLE = {"proxy": "first_token", "take_out": "nothing"}
"""The plain gradient of one proxy, which is quick to compute in another way."""


@pytest.fixture
def _few() -> Iterator[None]:
    with few_probes():
        yield


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("proxy=first_token", {"proxy": "first_token"}),
        ("proxy=contrast+past_refusal", {"proxy": "contrast+past_refusal"}),
        ("modules=.*", {"modules": ".*"}),
        ("modules=mlp|attn=", {"modules": "mlp|attn="}),
        ("take_out=benign,normalise=module", {"take_out": "benign", "normalise": "module"}),
        ("reduction=root,engine=jvp", {"reduction": "root", "engine": "jvp"}),
        ("batch_tokens=512,compile=true", {"batch_tokens": 512, "compile": True}),
        ("probes=8,probe_source=anchors", {"probes": 8, "probe_source": "anchors"}),
        ("first_tokens=5,rank=2", {"first_tokens": 5, "rank": 2}),
        ("warm_up=true", {"warm_up": True}),
    ],
)
def test_fields_are_read_and_the_others_keep_their_defaults(
    text: str, expected: dict[str, Any]
) -> None:
    assert read_form(text).model_dump() == {**FihsForm().model_dump(), **expected}


def test_nothing_said_is_what_users_get() -> None:
    assert FihsForm().scoring() == ScoringSettings()
    form = read_form("reduction=mean,probes=3,rank=1,engine=jvp")
    assert type(form.scoring()) is ScoringSettings
    assert form.scoring() == ScoringSettings(reduction="mean", engine="jvp")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("probe=8", "probe: "),
        ("reduction=mean,extra=1", "extra: "),
        ("reduction=median", "reduction: "),
        ("proxy=no_such", "proxy: unknown proxy no_such, choose one of "),
        ("proxy=contrast+no_such", "proxy: unknown proxy no_such, choose one of "),
        ("probes=0", "probes: "),
        ("probes=some", "probes: "),
        ("probe_source=mine", "probe_source: "),
        ("first_tokens=0", "first_tokens: "),
        ("rank=-1", "rank: "),
        ("warm_up=maybe", "warm_up: "),
        ("engine=", "engine: "),
        ("=8", "Cannot read '=8': write FIELD=VALUE"),
        # Not a field that is left at its default, and not one set to nothing.
        ("", "Nothing follows the colon: write FIELD=VALUE"),
        ("probes", "Cannot read 'probes': write FIELD=VALUE"),
        ("reduction=mean,probes", "Cannot read 'probes': write FIELD=VALUE"),
        ("probes=8,", "Cannot read '': write FIELD=VALUE"),
        # A comma inside a value ends it.
        ("modules=mlp{1,2}", "Cannot read '2}': write FIELD=VALUE"),
        ("probes=8,probes=9", "probes: named twice"),
        ("probes=8,rank=1,probes=8", "probes: named twice"),
        ("no_such=1,no_such=2", "no_such: named twice"),
    ],
)
def test_an_unknown_field_and_an_impossible_value_are_named(text: str, named: str) -> None:
    with pytest.raises(
        UserError, match=rf"^{re.escape(named)}.*\. The fields are proxy, modules, .*warm_up\."
    ):
        read_form(text)


def test_a_form_is_a_filter_by_its_name() -> None:
    name = "gradshield:reduction=sum,probes=8"
    found = filter_by_name(name)
    form = FihsForm(reduction="sum", probes=8)
    assert found == replace(GRADSHIELD, name=name, form=form)
    assert filter_by_name("gradshield") is GRADSHIELD


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gradshield:nothing=1", "^nothing: "),
        ("gradshield:", "^Nothing follows the colon: .*The fields are proxy"),
        ("gradshield:probes", "^Cannot read 'probes': "),
        ("gradshield:probes=8,probes=9", "^probes: named twice"),
        ("gradshield_paper:probes=3", "^Unknown filter gradshield_paper:probes=3: choose"),
        ("gradshields", "^Unknown filter gradshields: .*gradshield:FIELD=VALUE"),
    ],
)
def test_what_is_no_form_is_told(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        filter_by_name(name)


@pytest.mark.usefixtures("_few")
@pytest.mark.parametrize(
    ("settings", "prompts"),
    [
        ({}, PROMPTS["harmful"]),
        ({"probes": 1}, PROMPTS["harmful"][:1]),
        ({"probe_source": "anchors"}, HARMFUL_PROMPTS),
        ({"probe_source": "anchors", "probes": 2}, HARMFUL_PROMPTS[:2]),
    ],
    ids=["packaged", "one packaged", "anchors", "two anchors"],
)
def test_the_direction_is_measured_on_the_probes_of_the_form(
    settings: dict[str, Any], prompts: tuple[str, ...]
) -> None:
    material = tiny_material()
    loaded = material.loaded
    form = FihsForm.model_validate({**SIMPLE, "modules": "mlp", **settings})
    found = form_direction(form, material)
    proxy = make_first_token(loaded.tokenizer, OwnAnswers((), ()))
    expected = proxy_gradient(loaded.model, loaded.tokenizer, proxy, prompts, modules="mlp")
    assert found.tensors.keys() == expected.tensors.keys()
    for name, tensor in expected.tensors.items():
        torch.testing.assert_close(found.tensors[name], tensor)
    assert found.record["probes"] == len(prompts)


@pytest.mark.usefixtures("_few")
@pytest.mark.parametrize(
    ("source", "there"), [("packaged", len(PROMPTS["harmful"])), ("anchors", len(HARMFUL_PROMPTS))]
)
def test_more_probes_than_there_are_cannot_be_asked_for(source: str, there: int) -> None:
    form = FihsForm.model_validate({**SIMPLE, "probe_source": source, "probes": there + 1})
    with pytest.raises(UserError, match=f"probes={there + 1} asks .* {there} {source} .*={there},"):
        form_direction(form, tiny_material())


def test_by_default_the_probes_are_those_of_users() -> None:
    from gradshield.filters import fihs_form
    from gradshield.probes.calibration import probes

    asked = fihs_form._probe_prompts(FihsForm(), tiny_material())
    assert asked == [prompt.text for prompt in probes("harmful")]
    assert len(asked) == 64
    packaged = {prompt.text for prompt in load_prompts("harmful", "probe")}
    assert set(asked) <= packaged


@pytest.mark.usefixtures("_few")
def test_a_cut_direction_is_the_best_of_its_rank() -> None:
    material = tiny_material()
    whole = form_direction(FihsForm.model_validate(SIMPLE), material)
    cut = form_direction(FihsForm.model_validate({**SIMPLE, "rank": 2}), material)
    full = form_direction(FihsForm.model_validate({**SIMPLE, "rank": 32}), material)
    for name, tensor in whole.tensors.items():
        left, sizes, right = np.linalg.svd(tensor.double().numpy(), full_matrices=False)
        expected = (left[:, :2] * sizes[:2]) @ right[:2]
        np.testing.assert_allclose(cut.tensors[name].numpy(), expected, atol=1e-4 * sizes[0])
        torch.testing.assert_close(full.tensors[name], tensor, rtol=1e-3, atol=1e-4 * sizes[0])
    assert cut.norm < whole.norm


def test_without_a_warm_up_the_model_is_not_touched() -> None:
    material = tiny_material()
    before = snapshot(material.loaded.model)
    with form_model(FihsForm(), material):
        assert same_weights(material.loaded.model, before)


@pytest.mark.parametrize("fails", [False, True])
def test_a_warm_up_learns_the_harmless_rows_and_is_undone(fails: bool) -> None:
    material = warm_up_material()
    model = material.loaded.model
    model.lm_head.weight.requires_grad_(False)
    before = snapshot(model)
    flags = [one.requires_grad for one in model.parameters()]
    names = [name for name, _ in model.named_modules()]
    examples = [row.example for row in material.harmless]
    loss = losses(examples, model)
    try:
        with form_model(FihsForm(warm_up=True), material):
            assert not same_weights(model, before)
            assert sum(losses(examples, model)) < sum(loss)
            assert not model.training
            if fails:
                raise RuntimeError("midway")
    except RuntimeError:
        assert fails
    assert same_weights(model, before)
    assert [one.requires_grad for one in model.parameters()] == flags
    assert [name for name, _ in model.named_modules()] == names
    assert losses(mixed_examples()[:1], model) == losses(
        mixed_examples()[:1], tiny_material().loaded.model
    )
    assert not model.training


def test_leading_tokens_make_up_a_score_of_their_own() -> None:
    # The sum is W - 1, and the worst window is the last one, W / 2.
    tokens = torch.tensor([1.0, -2.0, *[0.5] * (2 * WINDOW)], dtype=torch.float64)

    def found(reduction: Reduction, first_tokens: int | None = None) -> float:
        score = ExampleScore.of_tokens(3, tokens, 0.1, reduction)
        form = FihsForm(reduction=reduction, first_tokens=first_tokens)
        if first_tokens is None:
            assert first_tokens_only(score, form) == score.fihs
        return first_tokens_only(score, form)

    reductions: tuple[Reduction, ...] = ("sum", "worst_window", "sum_and_worst")
    assert [found(one) for one in reductions] == [WINDOW - 1, WINDOW / 2, 1.5 * WINDOW - 1]
    assert [found(one, 1) for one in reductions] == [1, 1, 2]
    assert [found(one, 5) for one in reductions] == [0.5, 0.5, 1]
    # Three tokens more than a window: the last of its windows leaves 1 - 2 + 0.5 out.
    total, worst = (WINDOW - 1) / 2, WINDOW / 2
    assert [found(one, WINDOW + 3) for one in reductions] == [total, worst, total + worst]
    # More than there are is all of them.
    assert all(found(one, 1000) == found(one) for one in reductions)


def test_leading_tokens_need_an_engine_that_sees_them() -> None:
    score = ExampleScore(3, 2.0, 0.1)
    assert first_tokens_only(score, FihsForm()) == 2.0
    with pytest.raises(ValueError, match="first_tokens needs an engine that scores by tokens"):
        first_tokens_only(score, FihsForm(first_tokens=1))
