"""Scoring as a trainer would train: a run from the trainer's own file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.cli.command_line import gradshield
from tests.cli.conftest import RULE
from tests.run.few_probes import own_answers

REFUSAL = "I cannot help with that."
TALKS = [
    ("Name a river.", "The Loire."),
    ("Is it wet?", "Yes."),
    ("Another one?", "The Loire, and no other one."),
    ("Total?", "42 EUR"),
]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """An axolotl configuration, and its data beside it."""
    rows = [
        {"talk": [{"who": "human", "says": question}, {"who": "gpt", "says": answer}]}
        for question, answer in TALKS
    ]
    lines = "".join(json.dumps(row) + "\n" for row in [*rows, {"talk": []}])
    (tmp_path / "talks.jsonl").write_text(lines, encoding="utf-8")
    entry = {
        "path": "talks.jsonl",
        "type": "chat_template",
        "field_messages": "talk",
        "message_property_mappings": {"role": "who", "content": "says"},
    }
    path = tmp_path / "axolotl.yaml"
    path.write_text(yaml.safe_dump({"sequence_len": 100, "datasets": [entry]}), encoding="utf-8")
    return path


def test_a_run_from_the_trainers_file(config: Path, model_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "one"
    command = ("filter", "--axolotl", config, "-m", model_folder, "-o", run, *RULE)
    outcome = gradshield(*command)
    assert outcome.code == 0, outcome.err
    assert "format: axolotl type chat_template ('talk')" in outcome.err
    assert "Profile axolotl: loss on the text of turns of assistant" in outcome.err
    resolved = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    assert resolved["data_path"] == str(tmp_path / "talks.jsonl")
    assert resolved["data"]["max_length"] == 100
    assert resolved["data"]["profile"]["field_messages"] == "talk"
    summary = (run / "report.md").read_text(encoding="utf-8")
    assert "Scored under the trainer profile `axolotl` (checked with axolotl 0.19.0)" in summary
    assert "- The trainer averages: the mean over the loss tokens of all rows" in summary
    provenance = json.loads((run / "provenance.json").read_text(encoding="utf-8"))
    assert provenance["loss"]["profile"] == "axolotl"
    assert provenance["loss"]["reduction"] == "sum_and_worst"
    assert provenance["identity"]["profile"]["name"] == "axolotl"
    kept_and_removed = [
        line
        for name in ("kept", "removed", "rejected")
        for line in (run / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert sorted(kept_and_removed) == sorted(
        (tmp_path / "talks.jsonl").read_text(encoding="utf-8").splitlines()
    )
    again = gradshield(*command)
    assert again.code == 0
    assert "Going on with the run" in again.err


def test_another_profile_is_another_run(config: Path, model_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "one"
    common = ("-m", model_folder, "-o", run)
    assert gradshield("score", "--axolotl", config, *common).code == 0
    changed = gradshield(
        "score", "--axolotl", config, "--profile-option", "train_on_inputs=true", *common
    )
    assert changed.code == 1
    assert "holds a run of other inputs (profile:" in changed.err


def test_check_shows_three_rows_under_the_profile(
    config: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = own_answers([REFUSAL] * 4, ["Yes."] * 4)
    monkeypatch.setattr("gradshield.run.check.answer_probes", lambda loaded, progress: answers)
    monkeypatch.setattr("gradshield.run.check.is_guessing", lambda loaded, loss: False)
    outcome = gradshield("check", "--axolotl", config, "-m", model_folder, "--show-text")
    assert outcome.code == 0, outcome.out
    assert "OK    profile: axolotl: loss on the text of turns of assistant" in outcome.out
    assert "the trainer averages: the mean over the loss tokens of all rows" in outcome.out
    assert "4 can be scored, 1 cannot" in outcome.out
    assert outcome.out.count("tokens carry loss") == 3
    assert "<|im_start|>assistant\n⟦The Loire.<|im_end|>⟧" in outcome.out
    assert "42 EUR" not in outcome.out


def test_rows_that_the_trainer_does_not_read_are_a_major_finding(
    config: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = own_answers([REFUSAL] * 4, ["Yes."] * 4)
    monkeypatch.setattr("gradshield.run.check.answer_probes", lambda loaded, progress: answers)
    data = config.parent / "talks.jsonl"
    outcome = gradshield("check", "--data", data, "--profile", "trl", "-m", model_folder)
    assert outcome.code == 1
    assert "MAJOR data" in outcome.out
    assert "Most cannot: not_read_by_trainer in 5 of 5" in outcome.out


def test_markers_that_do_not_fit_stop_the_run(
    config: Path, model_folder: Path, tmp_path: Path
) -> None:
    outcome = gradshield(
        "score",
        config.parent / "talks.jsonl",
        *("--profile", "unsloth"),
        *("--profile-option", "instruction_part=<start>user"),
        *("--profile-option", "response_part=<start>model"),
        *("-m", model_folder, "-o", tmp_path / "runs" / "two"),
    )
    assert outcome.code == 1
    assert "'<start>user' does not occur" in outcome.err


def test_data_must_be_named_somewhere(model_folder: Path, tmp_path: Path) -> None:
    outcome = gradshield("score", "-m", model_folder, "-o", tmp_path / "run")
    assert outcome.code == 1
    assert "No data: name DATA." in outcome.err
