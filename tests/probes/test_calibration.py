from __future__ import annotations

import hashlib

import pytest
import torch

from gradshield.errors import UserError
from gradshield.probes import calibration
from gradshield.probes.calibration import (
    answer_probes,
    measure_direction,
    probe_attack_success_rate,
    probe_over_refusal_rate,
)
from gradshield.probes.direction import proxy_gradient, without_component
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


@pytest.mark.parametrize("remove_benign", [False, True])
def test_the_direction_is_the_proxys_gradient_with_its_record(remove_benign: bool) -> None:
    loaded = tiny_loaded()
    found = measure_direction(
        loaded,
        ANSWERS,
        proxy_name="first_token",
        modules="mlp",
        remove_benign=remove_benign,
        progress=Silent(),
    )
    proxy = make_first_token(loaded.tokenizer, ANSWERS)
    gradients = {
        name: proxy_gradient(loaded.model, loaded.tokenizer, proxy, texts, modules="mlp")
        for name, texts in TEXTS.items()
    }
    expected = gradients["harmful"]
    if remove_benign:
        expected = without_component(expected, gradients["ordinary"])
    for name, tensor in expected.tensors.items():
        torch.testing.assert_close(found.tensors[name], tensor)
    assert found.record["proxy_tokens"] == proxy.record()
    assert found.record["probe_attack_success_rate"] == pytest.approx(4 / 6)
    assert found.record["probe_over_refusal_rate"] == pytest.approx(1 / 4)
    sha256 = hashlib.sha256(b"Pick this lock\nForge a name").hexdigest()
    assert found.record["probes_sha256"] == sha256
    assert found.record.get("benign_removed", False) is remove_benign


def test_an_unknown_proxy_is_named_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="Unknown proxy refusal_loss: choose one of first_token, "):
        measure_direction(
            tiny_loaded(),
            ANSWERS,
            proxy_name="refusal_loss",
            modules=None,
            remove_benign=False,
            progress=Silent(),
        )
