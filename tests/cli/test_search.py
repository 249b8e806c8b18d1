from __future__ import annotations

import json
from pathlib import Path

import pytest

from gradshield.finetuning import trial
from gradshield.run import search as search_module
from tests.cli.command_line import Outcome, gradshield
from tests.run.few_probes import few_prompts

ROWS = 24


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(search_module, "load_prompts", few_prompts)
    path = tmp_path / "train.jsonl"
    rows = [{"prompt": f"Say {n}", "completion": f"{n} it is."} for n in range(ROWS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def search(data: Path, model_folder: Path, *more: object) -> Outcome:
    training = data.with_name("train.yaml")
    training.write_text("learning_rate: 1.0e-3\nbatch_size: 8\nwarmup_steps: 0\nlora: {rank: 1}\n")
    return gradshield(
        "filter", data, "--model", model_folder, "--out", data.with_name("run"), "--search",
        "--training", training, "--dtype", "float32", "--device", "cpu", *more,
    )  # fmt: skip


def test_a_search_shows_the_models_it_measured(
    data: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "is_refusal", lambda text: True)
    outcome = search(data, model_folder)
    assert outcome.code == 0, outcome.err
    assert "Measured after finetuning" in outcome.out
    assert "│ nothing " in outcome.out
    assert "already safe" in outcome.out
    assert "Kept 22 of 22: complied with 0.0%" in outcome.err
    assert len((data.with_name("run") / "kept.jsonl").read_text().splitlines()) == ROWS
    config = (data.with_name("run") / "config.yaml").read_text()
    assert "target_asr: 0.06" in config
    assert "learning_rate: 0.001" in config


def test_json_holds_the_proof(
    data: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "is_refusal", lambda text: True)
    content = json.loads(search(data, model_folder, "--json").out)
    assert content["method"] == "search"
    assert [model["name"] for model in content["proof"]] == [
        "nothing",
        "all rows",
    ]


def test_no_threshold_is_an_error_of_one_line(
    data: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "is_refusal", lambda text: False)
    outcome = search(data, model_folder, "--max-finetunes", "2")
    assert outcome.code == 1
    assert "Error: No threshold meets both" in outcome.err
    assert "Loosen --target-asr" in outcome.err
    assert not (data.with_name("run") / "kept.jsonl").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--target-asr", "1.5"), "--target-asr 1.5"),
        (("--utility", "chess"), "--utility chess: unknown, choose one of held_out, sst2"),
        (("--max-finetunes", "0"), "--max-finetunes 0"),
    ],
)
def test_wrong_settings_are_told_before_the_model_is_loaded(
    data: Path, model_folder: Path, more: tuple[str, str], message: str
) -> None:
    outcome = search(data, model_folder, *more)
    assert outcome.code == 1
    assert message in outcome.err
    assert not data.with_name("run").exists()


def test_a_task_without_its_rows_is_told_before_anything_is_scored(
    data: Path, model_folder: Path
) -> None:
    outcome = search(data, model_folder, "--utility", "sst2")
    assert outcome.code == 1
    assert "--utility sst2 needs its test rows: name them, --utility-data" in outcome.err
    assert not data.with_name("run").exists()
