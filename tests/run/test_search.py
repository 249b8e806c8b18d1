from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gradshield.config import (
    ModelSettings,
    RunConfig,
    ScoringSettings,
    SearchSettings,
    ThresholdSettings,
)
from gradshield.errors import UserError
from gradshield.finetuning import trial
from gradshield.finetuning.supervised import LoraSettings, TrainingSettings
from gradshield.models.load import LoadedModel
from gradshield.progress import Silent
from gradshield.run import search as search_module
from gradshield.run.filter import filter_data
from gradshield.run.folder import RunFolder
from gradshield.run.proof import read_proof
from gradshield.run.search import held_out_likelihood, search
from gradshield.run.threshold import read_decision
from tests.run.few_probes import few_prompts
from tests.run.score_lines import score_lines
from tests.tiny_models import chat_example

ROWS = 30
TRAINING = TrainingSettings(
    learning_rate=1e-3, batch_size=8, micro_batch_size=8, warmup_steps=0, lora=LoraSettings(rank=1)
)


@pytest.fixture(autouse=True)
def _few_validation_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "load_prompts", few_prompts)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    rows = [
        {"prompt": f"Say the number {number}", "completion": f"{number} it is."}
        for number in range(ROWS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def configuration(data: Path, model_folder: Path, **changes: Any) -> RunConfig:
    settings = {"training": TRAINING, "max_finetunes": 4, "answer_tokens": 8, **changes}
    return RunConfig(
        data_path=str(data),
        model=ModelSettings(name=str(model_folder), dtype="float32", device="cpu"),
        scoring=ScoringSettings(proxy="contrast"),
        threshold=ThresholdSettings(rule="calibrated", level=0.5),
        search=SearchSettings(**settings),
    )


def judged_by_rows(monkeypatch: pytest.MonkeyPatch, most_safe: int) -> list[int]:
    """Models finetuned on at most so many rows refuse, all others comply; counts finetunes."""
    trained_on: list[int] = []
    current = [0]
    real = trial.finetune

    def finetune(model: Any, tokenizer: Any, examples: Any, settings: Any, **options: Any) -> Any:
        trained_on.append(len(examples))
        current[0] = len(examples)
        return real(model, tokenizer, examples, settings, **options)

    def is_refusal(text: str) -> bool:
        return current[0] <= most_safe

    monkeypatch.setattr(trial, "finetune", finetune)
    monkeypatch.setattr(trial, "is_refusal", is_refusal)
    return trained_on


def test_a_search_ends_with_the_largest_safe_kept_set(
    tmp_path: Path, data: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained_on = judged_by_rows(monkeypatch, most_safe=20)
    config = configuration(data, model_folder, utility_floor=0.0)
    folder = RunFolder(tmp_path / "run")
    filter_data(config, folder, Silent())
    decision = read_decision(folder)
    trace = json.loads(folder.trace.read_text(encoding="utf-8"))
    assert decision["method"] == "search"
    assert decision["diagnostics"]["status"] == trace["status"] == "found"
    assert decision["diagnostics"]["from_scores_alone"]["method"] == "calibrated"
    held_out = ROWS - trained_on[0]
    assert held_out >= 1
    assert [point["kept"] for point in trace["points"]] == trained_on
    chosen = max(kept for kept in trained_on if kept <= 20)
    threshold = decision["threshold"]
    scores = [line["fihs"] for line in score_lines(folder)]
    assert decision["kept"] == sum(score < threshold for score in scores)
    assert chosen <= decision["kept"] <= chosen + held_out
    assert len(folder.output("kept", ".jsonl").read_text().splitlines()) == decision["kept"]
    assert (folder.search / "trace.svg").read_text(encoding="utf-8").startswith("<svg")


def test_the_proof_names_the_three_models(
    tmp_path: Path, data: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_by_rows(monkeypatch, most_safe=20)
    folder = RunFolder(tmp_path / "run")
    filter_data(configuration(data, model_folder, utility_floor=0.0), folder, Silent())
    aligned, everything, kept = read_proof(folder)
    assert (aligned.rows, aligned.validation_asr) == (0, 0.0)
    assert everything.validation_asr == 1.0
    assert kept.validation_asr == 0.0
    assert kept.rows < everything.rows
    summary = folder.summary.read_text(encoding="utf-8")
    assert "## Measured after finetuning" in summary
    assert f"| the kept rows | {kept.rows} |" in summary


def test_a_search_goes_on_without_finetuning_again(
    tmp_path: Path, data: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained_on = judged_by_rows(monkeypatch, most_safe=20)
    config = configuration(data, model_folder, utility_floor=0.0)
    folder = RunFolder(tmp_path / "run")
    filter_data(config, folder, Silent())
    before, decision = list(trained_on), folder.decision.read_bytes()
    filter_data(config, folder, Silent())
    assert trained_on == before
    assert folder.decision.read_bytes() == decision


def test_safe_unfiltered_data_is_kept_whole(
    tmp_path: Path, data: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained_on = judged_by_rows(monkeypatch, most_safe=ROWS)
    folder = RunFolder(tmp_path / "run")
    filter_data(configuration(data, model_folder), folder, Silent())
    decision = read_decision(folder)
    assert len(trained_on) == 1
    assert decision["kept"] == ROWS
    assert "already safe" in decision["reason"]
    assert [model.name for model in read_proof(folder)][1:] == ["all rows"]


def test_without_a_threshold_no_kept_file_is_written(
    tmp_path: Path, data: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_by_rows(monkeypatch, most_safe=0)
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(UserError, match=r"No threshold meets both .*No kept file was written"):
        filter_data(configuration(data, model_folder), folder, Silent())
    assert not folder.output("kept", ".jsonl").exists()
    assert json.loads(folder.trace.read_text(encoding="utf-8"))["status"] == "none"


def test_own_validation_prompts_are_asked_beside_the_packaged_ones(
    tmp_path: Path, data: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_by_rows(monkeypatch, most_safe=ROWS)
    own = tmp_path / "mine.txt"
    own.write_text("Open the lock\nTake the key\n")
    config = configuration(data, model_folder, validation_file=str(own))
    folder = RunFolder(tmp_path / "run")
    filter_data(config, folder, Silent())
    [point] = json.loads(folder.trace.read_text(encoding="utf-8"))["points"]
    assert point["prompts"] == len(few_prompts("harmful", "validation")) + 2


def test_a_missing_prompt_file_is_told_before_the_model_is_loaded(
    tmp_path: Path, data: Path
) -> None:
    config = configuration(data, tmp_path / "no-model", validation_file=str(tmp_path / "none"))
    with pytest.raises(UserError, match="There is no prompt file"):
        filter_data(config, RunFolder(tmp_path / "run"), Silent())


def test_too_few_rows_are_told_before_any_finetune(
    tmp_path: Path, data: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained_on = judged_by_rows(monkeypatch, most_safe=20)
    data.write_text("".join(data.read_text().splitlines(keepends=True)[:10]))
    with pytest.raises(UserError, match="at least 20 scored rows, these are 10"):
        filter_data(configuration(data, model_folder), RunFolder(tmp_path / "run"), Silent())
    assert trained_on == []


def test_a_run_without_search_settings_has_none(tmp_path: Path, data: Path) -> None:
    with pytest.raises(UserError, match="filter --search"):
        search(RunConfig(data_path=str(data)), RunFolder(tmp_path), Silent())


def test_held_out_likelihood_is_the_geometric_mean_of_token_probabilities(
    loaded: LoadedModel,
) -> None:
    import torch

    examples = [chat_example(0, "Hi", "Hello"), chat_example(1, "Name a river", "The Loire.")]
    logs: list[float] = []
    for example in examples:
        with torch.no_grad():
            logits = loaded.model(torch.tensor([example.input_ids])).logits[0]
        log_probabilities = logits.log_softmax(-1)
        logs += [
            float(log_probabilities[place - 1, token])
            for place, token in enumerate(example.input_ids)
            if example.response_mask[place]
        ]
    expected = torch.tensor(logs).mean().exp()
    assert held_out_likelihood(loaded, examples) == pytest.approx(float(expected), rel=1e-4)
