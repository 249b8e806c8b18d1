"""Findings about a model, with answers and faults put in."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from gradshield.data import TokenizedExample
from gradshield.models.load import LoadedModel
from gradshield.progress import Silent
from gradshield.run import check as check_step
from gradshield.run.check import Finding, check_model
from gradshield.scoring.engines import ExampleScore, PerExample, PreparedEngine
from gradshield.scoring.reference import is_guessing
from tests.run.few_probes import own_answers

REFUSAL = "I cannot help with that."


@pytest.fixture(autouse=True)
def _aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model refuses the harmful probes, answers the others, and predicts better than chance."""
    monkeypatch.setattr(check_step, "is_guessing", lambda loaded, loss: loss > 100)
    monkeypatch.setattr(
        check_step,
        "answer_probes",
        lambda loaded, progress: own_answers([REFUSAL] * 3, ["Yes.", "Hi", "42 EUR"]),
    )


def _by_subject(loaded: LoadedModel) -> dict[str, Finding]:
    return {finding.subject: finding for finding in check_model(loaded, Silent())}


def test_a_sound_model_has_good_findings_alone(loaded: LoadedModel) -> None:
    findings = _by_subject(loaded)
    assert set(findings) == {
        "template",
        "vocabulary",
        "predictions",
        "alignment",
        "refusals",
        "batching",
    }
    assert {finding.verdict for finding in findings.values()} == {"OK"}


def test_a_model_that_guesses(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny model is untrained: its loss is higher than the logarithm of its vocabulary."""
    monkeypatch.setattr(check_step, "is_guessing", is_guessing)
    finding = _by_subject(loaded)["predictions"]
    assert finding.verdict == "MAJOR"
    assert f"{math.log(len(loaded.tokenizer)):.1f} by drawing tokens at random" in finding.text


def test_an_added_token_without_embedding(loaded: LoadedModel) -> None:
    tokenizer = copy.deepcopy(loaded.tokenizer)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    finding = _by_subject(replace(loaded, tokenizer=tokenizer))["vocabulary"]
    assert finding.verdict == "MINOR"
    assert f"1 added tokens ('[PAD]' is {len(loaded.tokenizer)})" in finding.text


def test_a_second_bos_in_the_template(loaded: LoadedModel) -> None:
    tokenizer = copy.deepcopy(loaded.tokenizer)
    tokenizer.chat_template = "{{ bos_token }}{{ bos_token }}" + str(tokenizer.chat_template)
    finding = _by_subject(replace(loaded, tokenizer=tokenizer))["template"]
    assert finding.verdict == "MAJOR"
    assert "two BOS" in finding.text


def batched_differently(error: float, *, needs_padding: bool) -> Callable[..., PreparedEngine]:
    """Makes an engine ready for which a row's score depends on the batch."""

    def prepare(loaded: LoadedModel, direction: Any, *others: Any) -> PreparedEngine:
        exact = PerExample(tokens=False).prepare(loaded.model, direction, "sum", [])

        def score(batch: Sequence[TokenizedExample]) -> list[ExampleScore]:
            padded = len({len(example.input_ids) for example in batch}) > 1
            wrong = padded if needs_padding else len(batch) > 1
            scale = 1 + error if wrong else 1
            return [replace(one, fihs=one.fihs * scale) for one in exact.score(batch)]

        return PreparedEngine(score)

    return prepare


@pytest.mark.parametrize(
    ("needs_padding", "advice"), [(True, "--batch-tokens 1"), (False, "--dtype float32")]
)
def test_scores_that_depend_on_the_batch(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, needs_padding: bool, advice: str
) -> None:
    engine = batched_differently(0.1, needs_padding=needs_padding)
    monkeypatch.setattr(check_step, "prepare_engine", engine)
    finding = _by_subject(loaded)["batching"]
    assert finding.verdict == "MAJOR"
    assert "10.0%" in finding.text
    assert advice in finding.text


def test_rounding_in_a_batch_is_no_finding(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = batched_differently(1e-3, needs_padding=True)
    monkeypatch.setattr(check_step, "prepare_engine", engine)
    assert _by_subject(loaded)["batching"].verdict == "OK"


def test_scores_that_overflow_are_a_matter_of_precision(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = batched_differently(float("nan"), needs_padding=False)
    monkeypatch.setattr(check_step, "prepare_engine", engine)
    finding = _by_subject(loaded)["batching"]
    assert finding.verdict == "MAJOR"
    assert "--dtype float32" in finding.text


def test_a_model_without_refusals(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        check_step,
        "answer_probes",
        lambda loaded, progress: own_answers(["Sure"] * 3, ["Yes."] * 3),
    )
    findings = _by_subject(loaded)
    assert findings["alignment"].verdict == "MAJOR"
    assert findings["refusals"].text == "the model has none."
