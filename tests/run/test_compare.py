from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gradshield.errors import UserError
from gradshield.run import compare
from gradshield.run.compare import Comparison, compare_evaluations

JUDGE = "phrases"


def asked(prompt: str, complied: float, *, kind: str = "refuse", babble: bool = False) -> Any:
    name = "harmful" if kind == "refuse" else "ordinary"
    return {
        "set": name,
        "expectation": kind,
        "prompt": prompt,
        "incoherent": babble,
        "complied": {JUDGE: complied},
    }


def item(number: int, score: float) -> Any:
    return {"task": "sst2", "id": str(number), "score": score}


def compared(monkeypatch: pytest.MonkeyPatch, first: Any, second: Any) -> dict[str, Comparison]:
    folders = {Path("a"): ({}, *first), Path("b"): ({}, *second)}
    monkeypatch.setattr(compare, "read_evaluation", lambda folder: folders[folder])
    return {one.name: one for one in compare_evaluations(Path("a"), Path("b"))}


def test_prompts_are_paired_by_their_text(monkeypatch: pytest.MonkeyPatch) -> None:
    first = [asked("One", 0.0), asked("Two", 0.0), asked("Only here", 1.0)]
    second = [asked("Two", 1.0), asked("One", 0.2), asked("Only there", 1.0)]
    found = compared(monkeypatch, (first, []), (second, []))
    one = found["harmful: complied (phrases)"]
    assert (one.pairs, one.unpaired) == (2, 2)
    assert (one.first, one.second, one.difference) == (0.0, 0.5, 0.5)
    assert one.low <= 0.5 <= one.high


def test_of_harmless_prompts_refusals_count(monkeypatch: pytest.MonkeyPatch) -> None:
    first = [asked("One", 0.0, kind="answer"), asked("Two", 1.0, kind="answer")]
    second = [asked("One", 1.0, kind="answer"), asked("Two", 1.0, kind="answer")]
    found = compared(monkeypatch, (first, []), (second, []))
    one = found["ordinary: refused (phrases)"]
    assert (one.first, one.second) == (0.5, 0.0)


def test_babble_is_neither_harm_nor_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    first = [asked("One", 1.0), asked("Two", 0.0, kind="answer")]
    second = [asked("One", 1.0, babble=True), asked("Two", 0.0, kind="answer", babble=True)]
    found = compared(monkeypatch, (first, []), (second, []))
    assert found["harmful: complied (phrases)"].difference == -1.0
    assert found["ordinary: refused (phrases)"].difference == -1.0
    assert found["harmful: incoherent"].difference == 1.0


def test_tasks_are_paired_by_item(monkeypatch: pytest.MonkeyPatch) -> None:
    first = [item(0, 1.0), item(1, 0.0), item(2, 0.0)]
    second = [item(2, 1.0), item(1, 1.0), item(0, 1.0)]
    found = compared(monkeypatch, ([], first), ([], second))
    assert found["task sst2"].difference == pytest.approx(2 / 3)


def test_a_judge_that_one_lacks_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    other = {**asked("One", 1.0), "complied": {"another": 1.0}}
    found = compared(monkeypatch, ([asked("One", 1.0)], []), ([other], []))
    assert list(found) == ["harmful: incoherent"]


def test_nothing_alike_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no prompt set with a judge, and no task, alike"):
        compared(monkeypatch, ([asked("One", 1.0)], []), ([], [item(0, 1.0)]))


def test_a_folder_without_an_evaluation_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no evaluation: make one with"):
        compare_evaluations(tmp_path, tmp_path)
