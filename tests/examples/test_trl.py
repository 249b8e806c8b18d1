"""The recipes for TRL, and what its trainers make of the files of a run, on a tiny model."""

from __future__ import annotations

import math
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, load_dataset
from trl import SFTConfig, SFTTrainer

from gradshield import GradShield, shield
from gradshield.config import DataSettings
from gradshield.finetuning.weighted_trainer import WeightedSFTTrainer
from gradshield.models.load import LoadedModel
from gradshield.threshold import Decision
from tests.cli.command_line import gradshield
from tests.run.conftest import _few_probes, loaded, model_folder
from tests.run.data_files import good_rows, write_jsonl
from tests.tiny_models import chat_tokenizer, tiny_llama

__all__ = ["_few_probes", "loaded", "model_folder"]

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = [
    pytest.mark.usefixtures("_quick", "_few_probes"),
    pytest.mark.filterwarnings("ignore:This model answers"),
]


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Half of the rows are removed; nothing is written outside the test's own folder."""

    def at_the_median(scores: Any, *others: Any, **options: Any) -> Decision:
        return Decision(float(np.median(scores)), "median", "half and half", {})

    monkeypatch.setattr(shield, "decide", at_the_median)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def _chats(count: int = 12) -> list[dict[str, Any]]:
    return [{"messages": row["messages"]} for row in good_rows(4 * count) if "messages" in row]


def _main(name: str, *arguments: object) -> Any:
    return runpy.run_path(str(EXAMPLES / name))["main"]([str(given) for given in arguments])


def _losses(trainer: Any) -> list[float]:
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses
    assert all(math.isfinite(loss) for loss in losses)
    return losses


def _adapter_moved(trainer: Any) -> bool:
    """The second half of a fresh adapter is zero, so any training shows in it."""
    return all(
        bool(parameter.any())
        for name, parameter in trainer.model.named_parameters()
        if "lora_B" in name and "embed" not in name
    )


def test_sft_trains_on_the_kept_rows(model_folder: Path) -> None:
    rows = _chats()
    data = write_jsonl(Path("train.jsonl"), rows)
    trainer = _main("trl_sft.py", data, "--model", model_folder, "--steps", 2)
    expected = GradShield(model_folder, data=DataSettings(response="last")).filter(rows)
    assert 0 < len(expected.kept) < len(rows)
    texts = [chat_tokenizer().decode(ids) for ids in trainer.train_dataset["input_ids"]]
    assert texts == [
        chat_tokenizer().apply_chat_template(row["messages"], tokenize=False)
        for row in expected.kept
    ]
    for row in trainer.train_dataset:
        answer = chat_tokenizer().decode([label for label in row["labels"] if label != -100])
        assert "Name river" not in answer
    assert len(_losses(trainer)) == 2
    assert _adapter_moved(trainer)
    assert Path("adapter/adapter_model.safetensors").is_file()


def test_dpo_trains_on_the_kept_preferences(model_folder: Path) -> None:
    rows = [
        {
            "prompt": [{"role": "user", "content": f"Name river {number}."}],
            "chosen": [{"role": "assistant", "content": "Yes." + "!" * number}],
            "rejected": [{"role": "assistant", "content": "No. The Loire."}],
        }
        for number in range(8)
    ]
    data = write_jsonl(Path("preferences.jsonl"), rows)
    trainer = _main("trl_dpo.py", data, "--model", model_folder, "--steps", 2)
    expected = GradShield(model_folder).filter(rows)
    assert 0 < len(expected.kept) < len(rows)
    ends = [
        chat_tokenizer().decode(ids).removesuffix("\n").removesuffix("<|im_end|>")
        for ids in trainer.train_dataset["chosen_ids"]
    ]
    assert ends == [row["chosen"][0]["content"] for row in expected.kept]
    # Before the first step the policy is its own reference.
    assert _losses(trainer)[0] == pytest.approx(math.log(2), rel=1e-3)
    assert _adapter_moved(trainer)


def _arguments(**options: Any) -> SFTConfig:
    settings: dict[str, Any] = {
        "output_dir": "out",
        "max_steps": 2,
        "learning_rate": 1e-3,
        "per_device_train_batch_size": 4,
        "logging_steps": 1,
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    return SFTConfig(**{**settings, **options})


def _run(model_folder: Path, rows: list[dict[str, Any]], action: str) -> Path:
    data = write_jsonl(Path("train.jsonl"), rows)
    outcome = gradshield(
        *("filter", data, "-m", model_folder, "-o", "run", "--dtype", "float32"),
        *("--threshold", "calibrated", "--level", "0.25", "--action", action),
    )
    assert outcome.code == 0, outcome.err
    return Path("run")


def _weights_moved(trainer: Any) -> bool:
    before = dict(tiny_llama().named_parameters())
    return any(
        not torch.equal(parameter, before[name])
        for name, parameter in trainer.model.named_parameters()
    )


def test_a_stream_of_kept_rows_is_trained_on(loaded: LoadedModel) -> None:
    write_jsonl(Path("train.jsonl"), _chats())
    stream = load_dataset("json", data_files="train.jsonl", split="train", streaming=True)
    kept = GradShield(loaded.model, loaded.tokenizer).filter(stream).kept
    trainer = SFTTrainer(
        model=tiny_llama(),
        processing_class=chat_tokenizer(),
        train_dataset=kept,
        args=_arguments(),
    )
    texts = [chat_tokenizer().decode(row["input_ids"]) for row in trainer.train_dataset]
    assert texts == [
        chat_tokenizer().apply_chat_template(row["messages"], tokenize=False) for row in kept
    ]
    trainer.train()
    assert len(_losses(trainer)) == 2
    assert _weights_moved(trainer)


def test_masked_rows_are_trained_on_as_they_are(model_folder: Path) -> None:
    rows = [
        {"prompt": f"Name river {n}", "completion": "Yes. The Loire. 42 EUR. " * (1 + n)}
        for n in range(10)
    ]
    masked = Dataset.from_parquet(str(_run(model_folder, rows, "mask") / "masked.parquet"))
    assert any(
        -100 in row["labels"][row["labels"].index(max(row["labels"])) :] for row in masked
    ), "a response with a gap in its loss"
    trainer = SFTTrainer(
        model=tiny_llama(),
        processing_class=chat_tokenizer(),
        train_dataset=masked,
        args=_arguments(),
    )
    columns = ["input_ids", "labels"]
    assert list(trainer.train_dataset.select_columns(columns)) == list(
        masked.select_columns(columns)
    )
    trainer.train()
    assert len(_losses(trainer)) == 2
    assert _weights_moved(trainer)


def test_weighted_rows_are_trained_on_by_their_weights(model_folder: Path) -> None:
    run = _run(model_folder, _chats(), "downweight")
    rows = load_dataset("json", data_files=str(run / "annotated.jsonl"), split="train")
    weights = rows["gradshield_weight"]
    assert min(weights) < max(weights) == 1
    trainer = WeightedSFTTrainer(
        model=tiny_llama(),
        processing_class=chat_tokenizer(),
        train_dataset=rows,
        args=_arguments(),
    )
    batch = next(iter(trainer.get_train_dataloader()))
    assert set(batch["gradshield_weight"].tolist()) <= {np.float32(weight) for weight in weights}
    trainer.train()
    assert len(_losses(trainer)) == 2
    assert _weights_moved(trainer)
