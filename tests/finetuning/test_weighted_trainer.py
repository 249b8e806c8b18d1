"""Weights on rows' losses, against gradients taken row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from gradshield.data.tokenization import TokenizedExample
from gradshield.errors import UserError
from gradshield.finetuning.weighted_trainer import WeightedSFTTrainer
from gradshield.run.actions import WEIGHT
from tests.tiny_models import chat_tokenizer, full_logits_loss, mixed_examples, tiny_llama

WEIGHTS = [1.0, 0.0, 0.25, 1.0, 0.5, 1.0, 0.125]
RATE = 0.5


def _rows(weights: list[float] | None) -> Dataset:
    rows: list[dict[str, Any]] = []
    for example in mixed_examples():
        pairs = zip(example.input_ids, example.response_mask, strict=True)
        labels = [token if carries_loss else -100 for token, carries_loss in pairs]
        rows.append({"input_ids": list(example.input_ids), "labels": labels})
    columns = {} if weights is None else {WEIGHT: weights}
    found = Dataset.from_list(rows)
    for name, values in columns.items():
        found = found.add_column(name, values)
    return found


def _trainer(kind: type[SFTTrainer], rows: Dataset, folder: Path, **options: Any) -> SFTTrainer:
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 3,
        "gradient_accumulation_steps": 3,
        "max_steps": 1,
        "learning_rate": RATE,
        "lr_scheduler_type": "constant",
        "optim": "sgd",
        "max_grad_norm": 1e9,
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
        "logging_steps": 1,
        "gradient_checkpointing": False,
    }
    return kind(
        model=tiny_llama(),
        processing_class=chat_tokenizer(),
        train_dataset=rows,
        args=SFTConfig(**{**settings, **options}),
    )


def _summed_loss(model: Any, example: TokenizedExample) -> torch.Tensor:
    return full_logits_loss(model, example) * example.response_tokens


def test_one_step_is_the_weighted_gradient(tmp_path: Path) -> None:
    """By hand: plain SGD from the same weights, each row's gradient taken alone."""
    trainer = _trainer(WeightedSFTTrainer, _rows(WEIGHTS), tmp_path)
    trainer.train()
    model, examples = tiny_llama(), mixed_examples()
    tokens = sum(example.response_tokens for example in examples)
    for weight, example in zip(WEIGHTS, examples, strict=True):
        (weight * _summed_loss(model, example) / tokens).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= RATE * parameter.grad
    after = dict(trainer.model.named_parameters())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(after[name], parameter, rtol=1e-4, atol=1e-6)


def test_weights_of_one_are_trls_own_training(tmp_path: Path) -> None:
    weighted = _trainer(WeightedSFTTrainer, _rows([1.0] * 7), tmp_path)
    plain = _trainer(SFTTrainer, _rows(None), tmp_path)
    losses = [trainer.train().training_loss for trainer in (weighted, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for one, other in zip(weighted.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_rows_of_weight_zero_alone_move_nothing(tmp_path: Path) -> None:
    trainer = _trainer(WeightedSFTTrainer, _rows([0.0] * 7), tmp_path)
    assert trainer.train().training_loss == 0
    assert all(
        torch.equal(one, other)
        for one, other in zip(trainer.model.parameters(), tiny_llama().parameters(), strict=True)
    )


def test_rows_to_evaluate_on_need_no_weight(tmp_path: Path) -> None:
    trainer = _trainer(WeightedSFTTrainer, _rows(WEIGHTS), tmp_path, per_device_eval_batch_size=7)
    found = trainer.evaluate(_rows(None))["eval_loss"]
    model, examples = tiny_llama(), mixed_examples()
    with torch.no_grad():
        total = sum(float(_summed_loss(model, example)) for example in examples)
    assert found == pytest.approx(total / sum(e.response_tokens for e in examples), rel=1e-4)


def test_rows_without_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--action downweight"):
        _trainer(WeightedSFTTrainer, _rows(None), tmp_path)


def test_packed_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        _trainer(WeightedSFTTrainer, _rows(WEIGHTS), tmp_path, packing=True)
