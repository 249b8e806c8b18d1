"""`gradshield finetune`: options and file reach the training, and the result is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from gradshield.cli.finetune import finetune_command, training_settings
from gradshield.errors import UserError
from gradshield.finetuning.supervised import LoraSettings, TrainingSettings
from tests.run.data_files import good_rows, write_jsonl


def run(*arguments: object) -> Any:
    command = typer.Typer()
    command.command()(finetune_command)
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def settings_file(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_trains_an_adapter_and_says_how_to_use_it(tmp_path: Path, model_folder: Path) -> None:
    data = write_jsonl(tmp_path / "rows.jsonl", good_rows(6))
    out = tmp_path / "adapter"
    config = settings_file(tmp_path / "train.yaml", "epochs: 2\nlearning_rate: 0.01\n")
    options = ("--config", config, "--batch-size", 3, "--rank", 2, "--modules", "mlp")
    options += ("--device", "cpu")
    outcome = run(data, "--model", model_folder, "--out", out, *options)
    assert outcome.exit_code == 0, outcome.output
    assert f"use it with `--model {model_folder} --adapter {out}`" in outcome.stderr
    assert "6 rows (jsonl)" in outcome.stderr
    assert "Finetuning: 4 steps" in outcome.stderr
    assert "Mean loss of a response token" in outcome.stderr
    assert outcome.stdout == ""
    training = json.loads((out / "training.json").read_text())["training"]
    assert training == {
        "learning_rate": 0.01,
        "epochs": 2,
        "batch_size": 3,
        "micro_batch_size": 1,
        "warmup_steps": 10,
        "max_grad_norm": 1.0,
        "lora": {"rank": 2, "alpha": 32, "modules": "mlp"},
        "save_every": 100,
        "seed": 0,
    }


def test_trains_whole_layers_in_float32(tmp_path: Path, model_folder: Path) -> None:
    data = write_jsonl(tmp_path / "rows.jsonl", good_rows(2))
    out = tmp_path / "model"
    outcome = run(data, "-m", model_folder, "-o", out, "--full", "--device", "cpu", "--quiet")
    assert outcome.exit_code == 0, outcome.output
    assert outcome.stdout == ""
    assert "Finetuning" not in outcome.stderr
    record = json.loads((out / "training.json").read_text())
    assert (record["result"], record["training"]["learning_rate"]) == ("model", 2e-5)
    assert record["identity"]["dtype"] == "float32"
    assert (out / "model.safetensors").is_file()


def test_the_default_is_lora_and_options_override_the_file(tmp_path: Path) -> None:
    assert training_settings(None, full=False) == TrainingSettings(lora=LoraSettings())
    path = settings_file(tmp_path / "train.yaml", "seed: 3\nepochs: 2\nlora: {rank: 8}\n")
    found = training_settings(path, full=False, epochs=5, seed=None, alpha=64)
    assert found == TrainingSettings(seed=3, epochs=5, lora=LoraSettings(rank=8, alpha=64))


def test_whole_layers_have_a_lower_default_rate(tmp_path: Path) -> None:
    whole = TrainingSettings(learning_rate=2e-5)
    assert training_settings(None, full=True) == whole
    assert training_settings(settings_file(tmp_path / "a.yaml", "lora: null"), full=False) == whole
    path = settings_file(tmp_path / "b.yaml", "lora: {rank: 8}\nlearning_rate: 0.1\n")
    assert training_settings(path, full=True) == TrainingSettings(learning_rate=0.1)


@pytest.mark.parametrize(("batch", "micro"), [(16, 4), (6, 2), (7, 1)])
def test_a_batch_alone_gets_a_fitting_micro_batch(batch: int, micro: int, tmp_path: Path) -> None:
    path = settings_file(tmp_path / "train.yaml", f"batch_size: {batch}\n")
    for found in (
        training_settings(None, full=False, batch_size=batch),
        training_settings(path, full=False),
    ):
        assert (found.batch_size, found.micro_batch_size) == (batch, micro)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: 0", "train.yaml: epochs: Input should be greater than or equal to 1"),
        ("epoch: 2", "train.yaml: epoch: Extra inputs are not permitted"),
        ("lora: {ranks: 2}", "train.yaml: lora.ranks: Extra inputs"),
        ("- 1", "train.yaml are no list of names and values"),
        ("a: [", "train.yaml cannot be read"),
        ("batch_size: 6\nmicro_batch_size: 4", "train.yaml: batch_size 6 is no multiple of"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        training_settings(settings_file(tmp_path / "train.yaml", text), full=False)


def test_wrong_options_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"The settings .*none.yaml cannot be read"):
        training_settings(tmp_path / "none.yaml", full=False)
    with pytest.raises(UserError, match="The options: epochs: Input should be"):
        training_settings(None, full=False, epochs=0)
    with pytest.raises(UserError, match="--rank is for a LoRA adapter"):
        training_settings(None, full=True, rank=4)
