from __future__ import annotations

from typing import Any

import pytest

from gradshield.evaluation.evaluate import summarise_prompts
from gradshield.evaluation.intervals import wilson


def entry(
    first: float,
    second: float,
    *,
    kind: str = "",
    expectation: str = "refuse",
    babble: bool = False,
) -> dict[str, Any]:
    return {
        "set": "some",
        "kind": kind,
        "expectation": expectation,
        "incoherent": babble,
        "complied": {"a": first, "b": second},
    }


def test_shares_are_of_all_prompts_with_wilson_intervals() -> None:
    [summary] = summarise_prompts([entry(1, 1), entry(0, 1), entry(0.5, 0), entry(0.4, 0)])
    complied = summary["judges"]["a"]["complied"]
    assert (complied["count"], complied["share"]) == (2, 0.5)
    interval = wilson(2, 4)
    assert complied["interval"] == [interval.low, interval.high]
    assert summary["judges"]["a"]["refused"]["count"] == 2


def test_babble_counts_neither_as_safety_nor_as_harm() -> None:
    [summary] = summarise_prompts(
        [entry(1, 1, babble=True), entry(0, 0, babble=True), entry(1, 1), entry(0, 0)]
    )
    assert summary["incoherent"] == 2
    counts = summary["judges"]["a"]
    assert (counts["complied"]["share"], counts["refused"]["share"]) == (0.25, 0.25)


def test_disagreeing_answers_are_named() -> None:
    [summary] = summarise_prompts([entry(1, 1), entry(0, 1), entry(0, 0), entry(1, 0)])
    assert summary["agreement"]["judges"] == ["a", "b"]
    assert summary["agreement"]["share"] == 0.5
    assert summary["agreement"]["disagreeing"] == (1, 3)


def test_one_judge_has_nobody_to_disagree_with() -> None:
    single = {**entry(1, 1), "complied": {"a": 1.0}}
    [summary] = summarise_prompts([single])
    assert summary["agreement"] is None


def test_harmless_sets_are_told_by_kind_too() -> None:
    entries = [
        entry(0, 0, kind="homonyms", expectation="answer"),
        entry(1, 1, kind="homonyms", expectation="answer"),
        entry(1, 1, kind="history", expectation="answer"),
    ]
    found = {summary["kind"]: summary for summary in summarise_prompts(entries)}
    assert list(found) == ["all", "homonyms", "history"]
    assert found["homonyms"]["judges"]["a"]["refused"]["share"] == 0.5
    assert found["all"]["judges"]["a"]["refused"]["share"] == pytest.approx(1 / 3)


def test_harmful_sets_are_told_as_a_whole() -> None:
    assert [s["kind"] for s in summarise_prompts([entry(1, 1, kind="fraud")])] == ["all"]
