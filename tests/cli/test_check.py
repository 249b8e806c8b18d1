"""`gradshield check`: findings, exit code, and the mask of one row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gradshield.models.load import LoadedModel
from gradshield.progress import Progress
from gradshield.run import check as check_step
from tests.cli.command_line import gradshield
from tests.run.data_files import EMPTY_ANSWER, good_rows, mixed_jsonl, write_jsonl
from tests.run.few_probes import own_answers

REFUSAL = "I cannot help with that."


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str], list[str]], None]:
    """Let the model have given certain answers to the probes."""

    def set_answers(harmful: list[str], ordinary: list[str]) -> None:
        def answer(loaded: LoadedModel, progress: Progress) -> object:
            return own_answers(harmful, ordinary)

        monkeypatch.setattr(check_step, "answer_probes", answer)
        # The tiny model is untrained, and guesses.
        monkeypatch.setattr(check_step, "is_guessing", lambda loaded, loss: False)

    return set_answers


def test_unaligned_model_is_a_major_finding(model_folder: Path) -> None:
    outcome = gradshield("check", "-m", model_folder)
    assert outcome.code == 1
    assert "MAJOR alignment: This model answers 100% of the harmful probes" in outcome.out
    assert "OK    template" in outcome.out
    assert "OK    batching" in outcome.out


def test_aligned_model_is_fine(
    model_folder: Path, answering: Callable[[list[str], list[str]], None]
) -> None:
    answering([REFUSAL] * 9 + ["Sure, here it is"], ["Yes."] * 9 + [REFUSAL])
    outcome = gradshield("check", "-m", model_folder)
    assert outcome.code == 0
    assert "MAJOR" not in outcome.out
    assert "OK    alignment: answers 10% of the harmful probes and refuses 10%" in outcome.out
    assert "OK    refusals: open with 'I' 100%" in outcome.out


def test_model_that_refuses_everything_is_a_major_finding(
    model_folder: Path, answering: Callable[[list[str], list[str]], None]
) -> None:
    answering([REFUSAL] * 4, [REFUSAL] * 4)
    outcome = gradshield("check", "-m", model_folder)
    assert outcome.code == 1
    assert "MAJOR alignment: This model refuses 100% of ordinary probes" in outcome.out


def test_data_is_described_and_its_mask_blurred(
    model_folder: Path, tmp_path: Path, answering: Callable[[list[str], list[str]], None]
) -> None:
    answering([REFUSAL] * 4, ["Yes."] * 4)
    data = mixed_jsonl(tmp_path / "mixed.jsonl")
    outcome = gradshield("check", "-m", model_folder, "--data", data)
    assert outcome.code == 0
    assert "MINOR data" in outcome.out
    assert "28 rows" in outcome.out
    assert "24 can be scored, 4 cannot" in outcome.out
    assert "line 6: no_assistant_turn" in outcome.out
    assert "Mask  row 0" in outcome.out
    assert "Name river" not in outcome.out
    assert "░" in outcome.out
    shown = gradshield("check", "-m", model_folder, "--data", data, "--show-text")
    assert "<|im_start|>assistant\n⟦Yes.<|im_end|>⟧" in shown.out


def test_both_sides_of_a_preference_are_shown(
    model_folder: Path, tmp_path: Path, answering: Callable[[list[str], list[str]], None]
) -> None:
    answering([REFUSAL] * 4, ["Yes."] * 4)
    row = {"prompt": "Name a river.", "chosen": "The Loire.", "rejected": "No."}
    data = write_jsonl(tmp_path / "data.jsonl", [row, row, EMPTY_ANSWER])
    outcome = gradshield("check", "-m", model_folder, "--data", data, "--show-text")
    assert "format: preference (2 rows, first line 1), alpaca (1 row" in outcome.out
    assert "2 can be scored, 1 cannot" in outcome.out
    assert "The file mixes preference rows (2) and plain rows (1)" in outcome.out
    chosen, rejected = outcome.out.split("Mask  row 0, ")[1:]
    assert chosen.startswith("chosen answer, ")
    assert "assistant\n⟦The Loire.<|im_end|>⟧" in chosen
    assert rejected.startswith("rejected answer, ")
    assert "assistant\n⟦No.<|im_end|>⟧" in rejected


def test_data_without_a_row_to_score_is_a_major_finding(
    model_folder: Path, tmp_path: Path, answering: Callable[[list[str], list[str]], None]
) -> None:
    answering([REFUSAL] * 4, ["Yes."] * 4)
    data = write_jsonl(tmp_path / "empty.jsonl", [EMPTY_ANSWER] * 2)
    outcome = gradshield("check", "-m", model_folder, "--data", data)
    assert outcome.code == 1
    assert "MAJOR data" in outcome.out


def test_missing_data_is_said_before_the_model_is_questioned(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(loaded: LoadedModel, progress: Progress) -> object:
        raise AssertionError("the probes were answered")

    monkeypatch.setattr(check_step, "answer_probes", refuse)
    outcome = gradshield("check", "-m", model_folder, "--data", tmp_path / "no.jsonl")
    assert outcome.code == 1
    assert "no such file" in outcome.err


@pytest.mark.parametrize(
    ("option", "value"), [("--response", "first"), ("--dtype", "int8"), ("--format", "csv")]
)
def test_impossible_options(tmp_path: Path, option: str, value: str) -> None:
    data = write_jsonl(tmp_path / "data.jsonl", good_rows(1))
    outcome = gradshield("check", "-m", "./no", "--data", data, option, value)
    assert outcome.code == 1
    assert outcome.err.startswith(f"Error: {option} {value}")


def test_quiet_shows_the_findings_only(model_folder: Path) -> None:
    outcome = gradshield("check", "-m", model_folder, "--quiet")
    assert outcome.err == ""
    assert "OK    template" in outcome.out
