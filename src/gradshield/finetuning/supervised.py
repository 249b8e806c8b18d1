"""Supervised finetuning on response tokens, with TRL and PEFT.

The examples come tokenised with the same response mask as in scoring, so what is trained on is
exactly what was scored.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from safetensors.torch import save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gradshield.data.tokenization import TokenizedExample
from gradshield.errors import UserError
from gradshield.files import written_whole
from gradshield.models.layers import block_linear_layers


class LoraSettings(BaseModel):
    """A LoRA adapter on all linear layers of the blocks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)


class TrainingSettings(BaseModel):
    """How to finetune; without `lora` the block linear layers are trained whole."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: float = Field(gt=0)
    epochs: int = Field(default=1, ge=1)
    batch_size: int = Field(default=16, ge=1)
    micro_batch_size: int = Field(default=4, ge=1)
    warmup_steps: int = Field(default=10, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    lora: LoraSettings | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _check_batch(self) -> TrainingSettings:
        if self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size {self.batch_size} is no multiple of micro_batch_size "
                f"{self.micro_batch_size}"
            )
        return self


def finetune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[TokenizedExample],
    settings: TrainingSettings,
) -> PreTrainedModel:
    """Finetune a model in place and return it, a LoRA adapter merged.

    Embeddings and norms stay frozen in both modes, so that the change of the weights is a set of
    matrices that an adapter can carry.

    Args:
        model: The model to train; its weights change.
        tokenizer: Pads the batches.
        examples: Tokenised rows; only response tokens enter the loss.
        settings: Rates, sizes and seed.

    Raises:
        UserError: TRL is not installed.
    """
    peft_config = None if settings.lora is None else _peft_config(model, settings.lora)
    if peft_config is None:
        _freeze_all_but_linear_layers(model)
    trained = _train(model, tokenizer, examples, settings, peft_config)
    if peft_config is not None:
        trained = trained.merge_and_unload()
    for parameter in trained.parameters():
        parameter.requires_grad_(False)
    return cast(PreTrainedModel, trained.eval())


def continue_adapter(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[TokenizedExample],
    settings: TrainingSettings,
    adapter_folder: Path,
) -> None:
    """Train an existing LoRA adapter further on its base model, and write it back in float16.

    Args:
        model: The base model, without the adapter; its weights do not change.
        tokenizer: Pads the batches.
        examples: Tokenised rows; only response tokens enter the loss.
        settings: Rates, sizes and seed; the adapter's own ranks are kept.
        adapter_folder: The PEFT adapter, replaced by the trained one.

    Raises:
        UserError: TRL is not installed.
    """
    from peft import PeftModel, get_peft_model_state_dict

    adapted = PeftModel.from_pretrained(model, str(adapter_folder), is_trainable=True)
    trained = _train(adapted, tokenizer, examples, settings, None)
    # No embedding was trained; asked to find that out by itself, PEFT would look on the hub.
    state = get_peft_model_state_dict(trained, save_embedding_layers=False)
    tensors = {
        name: tensor.detach().to("cpu", torch.float16).contiguous()
        for name, tensor in state.items()
    }
    with written_whole(adapter_folder / "adapter_model.safetensors") as draft:
        save_file(tensors, draft, metadata={"format": "pt"})
    trained.unload()


def _train(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[TokenizedExample],
    settings: TrainingSettings,
    peft_config: Any,
) -> Any:
    """Run TRL's trainer over the examples and return the model it trained."""
    try:
        from trl import SFTConfig  # type: ignore[attr-defined]

        from gradshield.finetuning.response_trainer import ResponseLossTrainer
    except ImportError as fault:
        raise UserError(
            "Finetuning needs TRL, which is not installed: `pip install 'gradshield[align]'`."
        ) from fault

    torch.manual_seed(settings.seed)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = ResponseLossTrainer(
            model=model,
            args=SFTConfig(
                output_dir=scratch,
                learning_rate=settings.learning_rate,
                num_train_epochs=1,
                per_device_train_batch_size=settings.micro_batch_size,
                gradient_accumulation_steps=settings.batch_size // settings.micro_batch_size,
                train_sampling_strategy="sequential",
                warmup_steps=settings.warmup_steps,
                max_grad_norm=settings.max_grad_norm,
                lr_scheduler_type="linear",
                weight_decay=0.0,
                seed=settings.seed,
                data_seed=settings.seed,
                completion_only_loss=True,
                max_length=None,
                gradient_checkpointing=False,
                bf16=model.dtype == torch.bfloat16,
                use_cpu=model.device.type == "cpu",
                dataloader_pin_memory=False,
                logging_steps=20,
                save_strategy="no",
                report_to="none",
            ),
            train_dataset=_as_dataset(training_order(examples, settings)),
            processing_class=tokenizer,
            peft_config=peft_config,
        )
        trainer.train()
        return trainer.model


def training_order(
    examples: Sequence[TokenizedExample], settings: TrainingSettings
) -> list[TokenizedExample]:
    """All examples of all epochs in the order of training.

    Each epoch is a new random order, so every batch mixes all kinds of rows; within a batch rows
    are sorted by length, so that its micro-batches hold little padding.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    ordered: list[TokenizedExample] = []
    for _ in range(settings.epochs):
        shuffled = torch.randperm(len(examples), generator=generator).tolist()
        for start in range(0, len(shuffled), settings.batch_size):
            batch = [examples[index] for index in shuffled[start : start + settings.batch_size]]
            ordered += sorted(batch, key=lambda example: len(example.input_ids))
    return ordered


def _as_dataset(examples: Sequence[TokenizedExample]) -> Any:
    from datasets import Dataset

    return Dataset.from_dict(
        {
            "input_ids": [list(example.input_ids) for example in examples],
            "completion_mask": [[int(kept) for kept in e.response_mask] for e in examples],
        }
    )


def _peft_config(model: PreTrainedModel, lora: LoraSettings) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=0.0,
        target_modules=sorted(block_linear_layers(model)),
        task_type="CAUSAL_LM",
    )


def _freeze_all_but_linear_layers(model: PreTrainedModel) -> None:
    trained = {id(layer.weight) for layer in block_linear_layers(model).values()}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in trained)
