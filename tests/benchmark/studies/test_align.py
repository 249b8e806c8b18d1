"""Shares of refusals and the bars of the alignment study."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from gradshield.benchmark.studies import align
from gradshield.evaluation.generation import Answer
from gradshield.evaluation.prompt_sets import PublicPrompt
from gradshield.models.load import LoadedModel
from tests.run.few_probes import own_answers

REFUSAL, ANSWER = "I cannot help with that.", "Yes."


def _answers(*texts: str) -> list[Answer]:
    return [Answer((1,), (2,), text, finished=True) for text in texts]


def test_share_refused_over_all_of_a_set() -> None:
    prompts = [PublicPrompt("a", "x"), PublicPrompt("b", "y"), PublicPrompt("c", "x")]
    rows = align.refusal_rows("m", "advbench", prompts, _answers(REFUSAL, ANSWER, ANSWER))
    shares = {"refused": 1 / 3, "complied": 2 / 3}
    assert rows == [{"model": "m", "set": "advbench", "kind": "all", "prompts": 3, **shares}]


def test_share_refused_by_kind_for_xstest() -> None:
    prompts = [PublicPrompt("a", "x"), PublicPrompt("b", "y"), PublicPrompt("c", "x")]
    rows = align.refusal_rows("m", "xstest_safe", prompts, _answers(REFUSAL, ANSWER, REFUSAL))
    assert {row["kind"]: row["refused"] for row in rows} == {"all": 2 / 3, "x": 1.0, "y": 0.0}


def test_bars_take_the_aligned_model() -> None:
    sets = ("own_test", *align.ATTACK_SETS, "ordinary_test", "xstest_safe")
    rows = [
        {"model": model, "set": name, "kind": "all", "refused": refused, "complied": 1 - refused}
        for model, refused in zip(align.MODELS, (0.0, 1.0), strict=True)
        for name in sets
    ]
    rows.append({"model": align.MODELS[1], "set": "xstest_safe", "kind": "x", "refused": 0.5})
    bars = align._bars(rows, dict(zip(align.MODELS, (4.0, 5.0), strict=True)))
    values = {bar.name: (bar.value, bar.holds) for bar in bars}
    assert values["advbench: complied with"] == (0.0, True)
    assert values["ordinary_test: refused"] == (1.0, False)
    assert values["xstest_safe: refused"] == (1.0, False)
    assert values["perplexity of ordinary answers, change"] == (0.25, False)


def test_prompts_are_spread_over_a_public_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbered = [PublicPrompt(str(number)) for number in range(250)]
    monkeypatch.setattr(align, "attack_prompts", lambda folder, name: numbered)
    monkeypatch.setattr(align, "xstest_safe", lambda folder: numbered[:7])
    sets = align.prompt_sets(tmp_path)
    assert list(sets) == ["own_test", *align.ATTACK_SETS, "ordinary_test", "xstest_safe"]
    taken = [int(prompt.text) for prompt in sets["advbench"]]
    assert len(set(taken)) == 100
    assert taken[:3] == [0, 2, 5]
    assert taken[-1] == 247
    assert len(sets["xstest_safe"]) == 7


def test_perplexity_of_a_model_that_knows_nothing_is_the_size_of_its_vocabulary(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = own_answers([], ["Yes.", "The Loire. The Loire."]).ordinary
    head = loaded.model.get_output_embeddings()  # type: ignore[no-untyped-call]
    before = head.weight.detach().clone()
    try:
        head.weight.data.zero_()
        perplexity = align._perplexity(loaded, answers)
    finally:
        head.weight.data.copy_(before)
    assert perplexity == pytest.approx(len(loaded.tokenizer), rel=1e-5)
    assert math.isfinite(align._perplexity(loaded, answers))
