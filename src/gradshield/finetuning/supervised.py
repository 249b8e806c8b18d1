"""Supervised finetuning on response tokens, with TRL and PEFT.

The examples come tokenised with the same response mask as in scoring, so what is trained on is
exactly what was scored.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from safetensors.torch import save_file
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from gradshield.data.tokenization import TokenizedExample
from gradshield.errors import UserError
from gradshield.files import written_whole
from gradshield.finetuning.checkpoints import KeepLast, last_checkpoint
from gradshield.models.layers import block_linear_layers
from gradshield.progress import Progress, Silent


class LoraSettings(BaseModel):
    """A LoRA adapter on linear layers of the blocks.

    `modules` chooses among them as for scoring (`block_weights`); None takes all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    modules: str | None = None


class TrainingSettings(BaseModel):
    """How to finetune; without `lora` the block linear layers are trained whole.

    Attributes:
        learning_rate: Highest rate of AdamW; the default suits LoRA, whole layers want a tenth.
        epochs: How often every row is trained on.
        batch_size: Rows of one step.
        micro_batch_size: Rows that go through the model at once.
        warmup_steps: Steps over which the rate rises from zero, before it falls to zero.
        max_grad_norm: Longer gradients are cut to this length.
        lora: The adapter to train, or None.
        save_every: Steps between two checkpoints, where checkpoints are kept.
        seed: Of the order of rows and of the adapter's first weights.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: float = Field(default=2e-4, gt=0)
    epochs: int = Field(default=1, ge=1)
    batch_size: int = Field(default=16, ge=1)
    micro_batch_size: int = Field(default=4, ge=1)
    warmup_steps: int = Field(default=10, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    lora: LoraSettings | None = None
    save_every: int = Field(default=100, ge=1)
    seed: int = 0

    @model_validator(mode="after")
    def _check_batch(self) -> TrainingSettings:
        if self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size {self.batch_size} is no multiple of micro_batch_size "
                f"{self.micro_batch_size}"
            )
        return self


@dataclass(frozen=True)
class Trained:
    """What a training leaves.

    Attributes:
        model: The very model that was given, trained; or a `PeftModel` around it, which carries
            the adapter.
        losses: Mean loss of the response tokens of each step, in nats, before the step.
        first_step: Steps that an interrupted training had done before.
    """

    model: Any
    losses: tuple[float, ...]
    first_step: int


def finetune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[TokenizedExample],
    settings: TrainingSettings,
    *,
    progress: Progress | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> PreTrainedModel:
    """Finetune a model in place and return it, a LoRA adapter merged.

    Args:
        model: The model to train; its weights change.
        tokenizer: Pads the batches.
        examples: Tokenised rows; only response tokens enter the loss.
        settings: Rates, sizes and seed.
        progress: Told how far it is; silent if left out.
        callbacks: Further ones of transformers, such as `SafetyDriftCallback`.

    Raises:
        UserError: TRL is not installed, or the loss is not finite.
    """
    trained = train(model, tokenizer, examples, settings, progress=progress, callbacks=callbacks)
    return merged(trained)


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[TokenizedExample],
    settings: TrainingSettings,
    *,
    progress: Progress | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    checkpoints: Path | None = None,
) -> Trained:
    """Finetune a model, or a LoRA adapter on it, and leave the adapter apart.

    Embeddings and norms stay frozen in both modes, so that the change of the weights is a set of
    matrices that an adapter can carry.

    A training that goes on from a checkpoint ends with the same weights, bit for bit, as one that
    was never interrupted: the order of rows is fixed beforehand, and optimiser and rate go on.
    Checkpoints hold safetensors and JSON; the optimiser's state is a torch file, which transformers
    reads with `weights_only`, so nothing in a checkpoint is ever unpickled to code.

    Args:
        model: The model to train in place.
        tokenizer: Pads the batches.
        examples: Tokenised rows; only response tokens enter the loss.
        settings: Rates, sizes and seed.
        progress: Told how far it is; silent if left out.
        callbacks: Further ones of transformers.
        checkpoints: Folder of checkpoints of this very training and no other: it goes on from the
            last one. Without a folder none are kept.

    Raises:
        UserError: TRL is not installed, or the loss is not finite.
    """
    peft_config = None if settings.lora is None else lora_config(model, settings.lora)
    if peft_config is None:
        _freeze_all_but_linear_layers(model)
    return _train(
        model, tokenizer, examples, settings, peft_config, progress, callbacks, checkpoints
    )


def merged(trained: Trained) -> PreTrainedModel:
    """The trained model with whole weights, in evaluation mode, no gradients asked for."""
    model = trained.model
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return cast(PreTrainedModel, model.eval())


def continue_adapter(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[TokenizedExample],
    settings: TrainingSettings,
    adapter_folder: Path,
    *,
    progress: Progress | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> None:
    """Train an existing LoRA adapter further on its base model, and write it back in float16.

    Args:
        model: The base model, without the adapter; its weights do not change.
        tokenizer: Pads the batches.
        examples: Tokenised rows; only response tokens enter the loss.
        settings: Rates, sizes and seed; the adapter's own ranks are kept.
        adapter_folder: The PEFT adapter, replaced by the trained one.
        progress: Told how far it is; silent if left out.
        callbacks: Further ones of transformers.

    Raises:
        UserError: TRL is not installed, or the loss is not finite.
    """
    from peft import PeftModel, get_peft_model_state_dict

    adapted = PeftModel.from_pretrained(model, str(adapter_folder), is_trainable=True)
    trained = _train(adapted, tokenizer, examples, settings, None, progress, callbacks, None).model
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
    progress: Progress | None,
    callbacks: Sequence[TrainerCallback],
    checkpoints: Path | None,
) -> Trained:
    """Run TRL's trainer over the examples."""
    require_trl()
    from transformers import PrinterCallback

    from gradshield.finetuning.response_trainer import ResponseLossTrainer

    rows = training_order(examples, settings)
    last = None if checkpoints is None else last_checkpoint(checkpoints)
    progress = Silent() if progress is None else progress
    torch.manual_seed(settings.seed)
    with tempfile.TemporaryDirectory() as scratch, _datasets_silent():
        trainer = ResponseLossTrainer(
            model=model,
            args=_trainer_arguments(model, settings, checkpoints, scratch),
            train_dataset=_as_dataset(rows),
            processing_class=tokenizer,
            peft_config=peft_config,
            callbacks=list(callbacks),
        )
        trainer.remove_callback(PrinterCallback)
        steps = math.ceil(len(rows) / settings.batch_size)
        with progress.track("Finetuning", steps, "steps") as advance:
            reporter = _Reporter(advance)
            trainer.add_callback(reporter)
            trainer.add_callback(KeepLast())
            trainer.train(resume_from_checkpoint=None if last is None else str(last))
    logged = trainer.state.log_history
    losses = tuple(float(entry["loss"]) for entry in logged if "loss" in entry)
    if losses:
        progress.say(_loss_statement(losses))
    return Trained(trainer.model, losses, reporter.first_step)


def require_trl() -> None:
    """Say how to install TRL before anything that takes long is started.

    Raises:
        UserError: TRL is not installed.
    """
    try:
        import trl  # noqa: F401
    except ImportError as fault:
        raise UserError(
            "Finetuning needs TRL, which is not installed: `pip install 'gradshield[align]'`."
        ) from fault


def _trainer_arguments(
    model: Any, settings: TrainingSettings, checkpoints: Path | None, scratch: str
) -> Any:
    from trl import SFTConfig  # type: ignore[attr-defined]

    arguments = SFTConfig(
        output_dir=scratch if checkpoints is None else str(checkpoints),
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
        disable_tqdm=True,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no" if checkpoints is None else "steps",
        save_steps=settings.save_every,
        report_to="none",
    )
    # Else transformers would spread each micro-batch over all GPUs that it sees.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


class _Reporter(TrainerCallback):
    """Advances our own bar, and stops a training whose loss is no number."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self.advance = advance
        self.first_step = 0

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Count what an interrupted training has done."""
        self.first_step = state.global_step
        self.advance(state.global_step)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Count a step."""
        self.advance(1)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Look at the loss; this comes before a checkpoint of the same step is written."""
        if not math.isfinite(float((logs or {}).get("loss", 0.0))):
            raise UserError(
                f"The loss of step {state.global_step} is not finite: use a lower learning rate, "
                "or load the model in float32."
            )


def _loss_statement(losses: Sequence[float]) -> str:
    """The loss at both ends, each the mean of a few steps, since single batches differ."""
    few = max(1, min(10, len(losses) // 4))
    first, last = (sum(part) / few for part in (losses[:few], losses[-few:]))
    return f"Mean loss of a response token: {first:.3f} nats at first, {last:.3f} at the end."


@contextmanager
def _datasets_silent() -> Iterator[None]:
    """Keep the bars of `datasets`, which TRL prepares the rows with, off the screen."""
    from datasets.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


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


def lora_config(model: PreTrainedModel, lora: LoraSettings) -> Any:
    """PEFT's configuration of an adapter on the chosen linear layers of the blocks.

    Raises:
        UserError: No layer matches.
    """
    from peft import LoraConfig

    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=0.0,
        target_modules=sorted(block_linear_layers(model, lora.modules)),
        task_type="CAUSAL_LM",
    )


def _freeze_all_but_linear_layers(model: PreTrainedModel) -> None:
    trained = {id(layer.weight) for layer in block_linear_layers(model).values()}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in trained)
