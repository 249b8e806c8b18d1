"""The figures and bars of the judges study, on made-up completions and a tiny model."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from gradshield.benchmark.studies import judges
from gradshield.benchmark.studies.judges import COMPLIANCE, PARTIAL, REFUSAL, Labelled
from gradshield.errors import UserError
from gradshield.evaluation.judges.base import Exchange
from gradshield.progress import Silent
from tests.tiny_models import tiny_loaded

REFUSED, ANSWERED = "I cannot help with that.", "Water boils at 100 degrees."


def _labelled(*labels: str) -> list[Labelled]:
    return [Labelled(Exchange("Hi", "Hello"), label) for label in labels]


def test_figures_of_a_hand_counted_judge() -> None:
    """Called refusals: 2 of 3 refusals, 1 of 2 answers, and 1 of 2 partial refusals."""
    items = _labelled(REFUSAL, REFUSAL, REFUSAL, COMPLIANCE, COMPLIANCE, PARTIAL, PARTIAL)
    values = [0.0, 0.4, 0.5, 0.1, 1.0, 0.0, 1.0]
    without, counted = judges.judge_rows("j", "f", "all", items, values)
    assert (without["partial"], without["completions"], without["refusals"]) == ("left out", 5, 3)
    assert without["precision"] == pytest.approx(2 / 3)
    assert without["recall"] == pytest.approx(2 / 3)
    assert without["agreement"] == pytest.approx(3 / 5)
    assert (counted["partial"], counted["completions"], counted["refusals"]) == ("refusals", 7, 5)
    assert counted["precision"] == pytest.approx(3 / 4)
    assert counted["recall"] == pytest.approx(3 / 5)
    assert counted["agreement"] == pytest.approx(4 / 7)
    for row in (without, counted):
        assert (row["partial_called_refusals"], row["partial_completions"]) == (1, 2)


def test_shares_over_nothing_are_left_open() -> None:
    items = _labelled(COMPLIANCE, COMPLIANCE)
    for row in judges.judge_rows("j", "f", "all", items, [1.0, 1.0]):
        assert (row["precision"], row["recall"], row["agreement"]) == (None, None, 1.0)


@pytest.fixture
def public_data(tmp_path: Path) -> Path:
    """Six completions a file, of which the phrase judge takes one of the last file's wrongly."""
    right = [
        (REFUSED, REFUSAL),
        (ANSWERED, COMPLIANCE),
        (REFUSED, REFUSAL),
        (ANSWERED, COMPLIANCE),
        (REFUSED, PARTIAL),
    ]
    for name, last in (("gpt4", REFUSED), ("llama2", ANSWERED)):
        rows = [
            {"prompt": f"Prompt {number}", "completion": text, "final_label": label}
            for number, (text, label) in enumerate([*right, (last, REFUSAL)])
        ]
        _write_csv(tmp_path / judges.COMPLETIONS[name], rows)
    openers = [{"goal": f"Do {letter}", "target": f"Sure, {letter}"} for letter in "abc"]
    _write_csv(tmp_path / "advbench/harmful_behaviors.csv", openers)
    return tmp_path


def _write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_the_study_counts_all_and_both_halves(
    public_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judges, "load_model", lambda say: tiny_loaded())
    monkeypatch.setattr(judges, "BABBLE", 4)
    result = judges.run(public_data, Silent())
    phrases = {
        (row["file"], row["half"]): row["agreement"]
        for row in result.rows
        if row.get("judge") == "refusal_phrases" and row["partial"] == "left out"
    }
    assert phrases == {
        **{("gpt4", half): 1.0 for half in ("all", "even", "odd", "subset")},
        ("llama2", "all"): 4 / 5,
        ("llama2", "even"): 1.0,
        ("llama2", "odd"): 2 / 3,
        ("llama2", "subset"): 4 / 5,
    }
    flagged: dict[str, Any] = {row["coherence"]: row for row in result.rows if "coherence" in row}
    assert flagged["loops"]["flagged"] == 1.0
    assert flagged["loops"]["answers"] == flagged["random tokens"]["answers"] == 4
    assert flagged["advbench openers"]["answers"] == 3
    holds = {bar.name: bar.holds for bar in result.bars}
    assert holds["refusal_phrases: agreement with people, gpt4"]
    assert not holds["refusal_phrases: agreement with people, llama2"]
    assert holds["flagged as incoherent: loops"]
    assert sum(name.startswith("hidden_states") for name in holds) == 2


def test_babble_is_drawn_anew_alike() -> None:
    loaded = tiny_loaded()
    prompts = ["Name a river, please, and a lake", "Hi"]
    first, second = (judges.babble(loaded, prompts) for _ in range(2))
    assert first == second
    random_tokens, loops = first
    assert len(random_tokens) == len(loops) == judges.BABBLE
    assert len({exchange.answer for exchange in random_tokens}) == judges.BABBLE
    assert loops[1].answer == " ".join(["Hi"] * 12)


def test_a_missing_file_and_an_unknown_label_are_named(public_data: Path, tmp_path: Path) -> None:
    path = public_data / judges.COMPLETIONS["gpt4"]
    _write_csv(path, [{"prompt": "Hi", "completion": "Yes", "final_label": "4_maybe"}])
    with pytest.raises(UserError, match="row 1: unknown label '4_maybe'"):
        judges.read_completions(public_data, "gpt4")
    path.unlink()
    with pytest.raises(UserError, match="--public-data"):
        judges.read_completions(public_data, "gpt4")
