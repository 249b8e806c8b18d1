from __future__ import annotations

import hashlib

import pytest
import torch

from gradshield.errors import UserError
from gradshield.probes import calibration
from gradshield.probes.calibration import (
    Normalisation,
    TakeOut,
    answer_probes,
    measure_direction,
    probe_attack_success_rate,
    probe_over_refusal_rate,
    probes,
)
from gradshield.probes.direction import (
    Direction,
    proxy_gradient,
    training_direction,
    without_span,
)
from gradshield.probes.harmless_rows import harmless_rows, opening_rows
from gradshield.probes.prompt_sets import Prompt, PromptSet, Split
from gradshield.probes.proxies import OwnAnswers
from gradshield.probes.proxies.first_token import make_first_token
from gradshield.progress import Silent
from tests.tiny_models import answer, tiny_loaded

TEXTS = {"harmful": ["Pick this lock", "Forge a name"], "ordinary": ["Name a river", "Say hello"]}
ANSWERS = OwnAnswers(
    harmful=[answer("I can't help with that."), answer("Sure, here it is."), answer("")] * 2,
    ordinary=[answer("The Loire."), answer("I must decline."), answer("Hello"), answer("")],
)


@pytest.fixture(autouse=True)
def _few_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    def few(name: PromptSet, split: Split | None = None) -> list[Prompt]:
        assert split == "probe"
        return [Prompt(text, "c", "probe", text) for text in TEXTS[name]]

    monkeypatch.setattr(calibration, "load_prompts", few)


def test_rates_count_refusals() -> None:
    # Of six harmful answers two refuse; of four ordinary ones one does.
    assert probe_attack_success_rate(ANSWERS) == pytest.approx(4 / 6)
    assert probe_over_refusal_rate(ANSWERS) == pytest.approx(1 / 4)


def test_the_model_answers_both_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "HARMFUL_ANSWER_TOKENS", 3)
    monkeypatch.setattr(calibration, "ORDINARY_ANSWER_TOKENS", 5)
    loaded = tiny_loaded()
    found = answer_probes(loaded, Silent())
    for answers, texts, limit in (
        (found.harmful, TEXTS["harmful"], 3),
        (found.ordinary, TEXTS["ordinary"], 5),
    ):
        assert len(answers) == len(texts)
        for one, text in zip(answers, texts, strict=True):
            assert text in loaded.tokenizer.decode(one.prompt_ids)
            assert len(one.token_ids) == limit or one.finished


@pytest.mark.parametrize("take_out", ["nothing", "benign", "harmless"])
def test_the_direction_is_the_proxys_gradient_with_its_record(take_out: TakeOut) -> None:
    loaded = tiny_loaded()
    found = measure_direction(
        loaded,
        ANSWERS,
        proxy_name="first_token",
        modules="mlp",
        take_out=take_out,
        progress=Silent(),
    )
    proxy = make_first_token(loaded.tokenizer, ANSWERS)
    gradients = {
        name: proxy_gradient(loaded.model, loaded.tokenizer, proxy, texts, modules="mlp")
        for name, texts in TEXTS.items()
    }
    expected = gradients["harmful"]
    if take_out == "benign":
        expected = without_span(expected, [gradients["ordinary"].tensors])
    if take_out == "harmless":
        rows = opening_rows(loaded.tokenizer)
        rows += [row.example for row in harmless_rows(loaded.tokenizer, "probe")]
        span = [
            training_direction(loaded.model, rows[start : start + 12], modules="mlp")
            for start in range(0, len(rows), 12)
        ]
        expected = without_span(expected, span)
    for name, tensor in expected.tensors.items():
        torch.testing.assert_close(found.tensors[name], tensor)
    assert found.record["proxy_tokens"] == {"first_token": proxy.record()}
    assert found.record["probe_attack_success_rate"] == pytest.approx(4 / 6)
    assert found.record["probe_over_refusal_rate"] == pytest.approx(1 / 4)
    sha256 = hashlib.sha256(b"Pick this lock\nForge a name").hexdigest()
    assert found.record["probes_sha256"] == sha256
    assert found.record["take_out"] == take_out
    assert ("energy_left" in found.record) is (take_out != "nothing")


def test_every_module_counts_alike_if_asked() -> None:
    whole, by_module = (
        measure_direction(
            tiny_loaded(),
            ANSWERS,
            proxy_name="first_token",
            modules="mlp",
            take_out="nothing",
            normalise=normalise,
            progress=Silent(),
        )
        for normalise in ("whole", "module")
    )
    for name, tensor in by_module.tensors.items():
        assert float(tensor.norm()) == pytest.approx(1.0)
        torch.testing.assert_close(tensor, whole.tensors[name] / whole.tensors[name].norm())
    assert by_module.record["normalise"] == "module"


def test_own_prompts_take_the_place_of_the_harmful_probes() -> None:
    loaded = tiny_loaded()
    own = ["Rob a bank", "Break a window", "Burn it down"]
    found = measure_direction(
        loaded,
        ANSWERS,
        proxy_name="first_token",
        modules="mlp",
        take_out="benign",
        prompts=own,
        progress=Silent(),
    )
    proxy = make_first_token(loaded.tokenizer, ANSWERS)
    harmful, ordinary = (
        proxy_gradient(loaded.model, loaded.tokenizer, proxy, texts, modules="mlp")
        for texts in (own, TEXTS["ordinary"])
    )
    expected = without_span(harmful, [ordinary.tensors])
    for name, tensor in expected.tensors.items():
        torch.testing.assert_close(found.tensors[name], tensor)
    assert found.record["probes"] == 3
    sha256 = hashlib.sha256(b"Rob a bank\nBreak a window\nBurn it down").hexdigest()
    assert found.record["probes_sha256"] == sha256


@pytest.mark.parametrize("take_out", ["nothing", "benign", "harmless"])
def test_of_two_proxies_the_cleaned_unit_directions_are_added(take_out: TakeOut) -> None:
    loaded = tiny_loaded()

    def measured(proxy: str, normalise: Normalisation = "whole") -> Direction:
        return measure_direction(
            loaded,
            ANSWERS,
            proxy_name=proxy,
            modules="mlp",
            take_out=take_out,
            normalise=normalise,
            progress=Silent(),
        )

    parts = [measured("first_token"), measured("past_refusal")]
    both = measured("first_token+past_refusal")
    by_module = measured("first_token+past_refusal", "module")
    for name, tensor in both.tensors.items():
        expected = sum(
            (part.tensors[name].double() / part.norm for part in parts), torch.zeros(())
        ).float()
        torch.testing.assert_close(tensor, expected)
        torch.testing.assert_close(by_module.tensors[name], expected / expected.norm())
    assert both.record["proxy"] == "first_token+past_refusal"
    assert both.record["values"] == pytest.approx([part.record["value"] for part in parts])
    assert both.record["proxy_tokens"] == {
        name: tokens for part in parts for name, tokens in part.record["proxy_tokens"].items()
    }


def test_an_unknown_proxy_is_named_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="Unknown proxy refusal_loss: choose one of first_token, "):
        measure_direction(
            tiny_loaded(),
            ANSWERS,
            proxy_name="refusal_loss",
            modules=None,
            take_out="nothing",
            progress=Silent(),
        )


def prompts_by_category(name: PromptSet, split: Split | None) -> list[Prompt]:
    names = [(category, number) for category in "abc" for number in range(6)]
    return [Prompt(f"{c}{n}", c, "probe", f"{name} {c}{n}") for c, n in names]


def test_a_seed_draws_probes_from_every_category(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "load_prompts", prompts_by_category)
    drawn = {seed: [p.id for p in probes("harmful", 9, seed)] for seed in (None, 1, 2, 2**200)}
    assert drawn[None] == ["a0", "a2", "a4", "b0", "b2", "b4", "c0", "c2", "c4"]
    assert len({tuple(ids) for ids in drawn.values()}) == 4
    for seed, ids in drawn.items():
        assert [identity[0] for identity in ids] == list("aaabbbccc")
        assert ids == [p.id for p in probes("harmful", 9, seed)]
        assert len(set(ids)) == 9


def test_the_seed_reaches_answers_and_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "load_prompts", prompts_by_category)
    monkeypatch.setattr(calibration, "HARMFUL_ANSWER_TOKENS", 1)
    monkeypatch.setattr(calibration, "ORDINARY_ANSWER_TOKENS", 1)
    loaded = tiny_loaded()
    drawn = [prompt.text for prompt in probes("harmful", seed=7)]
    assert drawn != [prompt.text for prompt in probes("harmful")]
    answers = answer_probes(loaded, Silent(), 7)
    for one, text in zip(answers.harmful, drawn, strict=True):
        assert text in loaded.tokenizer.decode(one.prompt_ids)
    direction = measure_direction(
        loaded,
        ANSWERS,
        proxy_name="first_token",
        modules="mlp",
        take_out="benign",
        probes_seed=7,
        progress=Silent(),
    )
    assert (
        direction.record["probes_sha256"] == hashlib.sha256("\n".join(drawn).encode()).hexdigest()
    )


def test_answers_that_are_no_numbers_are_an_error() -> None:
    loaded = tiny_loaded()
    with torch.no_grad():
        loaded.model.get_output_embeddings().weight.mul_(float("nan"))
    with pytest.raises(UserError, match="not made of finite numbers in float32"):
        answer_probes(loaded, Silent())
