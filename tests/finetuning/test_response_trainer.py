"""The training loss against plain autograd, and against TRL's own loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainerCallback

from gradshield.finetuning.response_trainer import ResponseLossTrainer, _examples
from gradshield.finetuning.supervised import LoraSettings, TrainingSettings, lora_config, train
from gradshield.models.layers import block_linear_layers
from tests.tiny_models import (
    chat_tokenizer,
    full_logits_loss,
    mixed_examples,
    tiny_gpt2,
    tiny_llama,
)

# One step of all seven rows, in micro-batches of three, three and one; nothing is cut.
ONE_STEP = TrainingSettings(
    learning_rate=1e-3, batch_size=9, micro_batch_size=3, warmup_steps=0, max_grad_norm=1e9
)
LORA = LoraSettings(rank=4, alpha=8)


def gpt2_without_dropout() -> PreTrainedModel:
    """In training GPT-2 drops states at random, which no reference could follow."""
    model = tiny_gpt2()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


MODELS = pytest.mark.parametrize("make", [tiny_llama, gpt2_without_dropout], ids=["llama", "gpt2"])
pytestmark = pytest.mark.filterwarnings("ignore:fan_in_fan_out")


class Gradients(TrainerCallback):
    """Keeps the gradients of the one step, as the optimiser is about to use them."""

    def __init__(self) -> None:
        self.found: dict[str, Tensor] = {}

    def on_pre_optimizer_step(
        self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any
    ) -> None:
        assert not self.found
        self.found = {
            name: parameter.grad.clone()
            for name, parameter in model.named_parameters()
            if parameter.grad is not None
        }


def trained_gradients(
    model: PreTrainedModel, settings: TrainingSettings
) -> tuple[dict[str, Tensor], float]:
    kept = Gradients()
    trained = train(model, chat_tokenizer(), mixed_examples(), settings, callbacks=[kept])
    [loss] = trained.losses
    return kept.found, loss


def mean_over_response_tokens(model: PreTrainedModel) -> Tensor:
    """The textbook way: every row alone, all logits, and the mean over all response tokens."""
    examples = mixed_examples()
    total = sum(full_logits_loss(model, e) * e.response_tokens for e in examples)
    assert isinstance(total, Tensor)
    return total / sum(e.response_tokens for e in examples)


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    assert largest > 0
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6 * largest, msg=name)


@MODELS
def test_whole_layers_get_the_gradient_of_the_mean_over_the_step(
    make: Callable[[], PreTrainedModel],
) -> None:
    found, loss = trained_gradients(make(), ONE_STEP)
    reference = make()
    value = mean_over_response_tokens(reference)
    weights = {
        f"{name}.weight": part.weight for name, part in block_linear_layers(reference).items()
    }
    gradients = torch.autograd.grad(value, list(weights.values()))
    assert_equal(found, dict(zip(weights, gradients, strict=True)))
    assert loss == pytest.approx(value.item(), rel=1e-5)


@MODELS
def test_an_adapter_gets_the_gradient_of_the_mean_over_the_step(
    make: Callable[[], PreTrainedModel],
) -> None:
    from peft import get_peft_model

    found, loss = trained_gradients(make(), ONE_STEP.model_copy(update={"lora": LORA}))
    base = make()
    torch.manual_seed(ONE_STEP.seed)
    adapted: Any = get_peft_model(base, lora_config(base, LORA))
    value = mean_over_response_tokens(adapted)
    weights = {name: p for name, p in adapted.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad(value, list(weights.values()))
    expected = dict(zip(weights, gradients, strict=True))
    # B is zero in a fresh adapter, so the gradient of A vanishes and that of B tells all.
    assert any(gradient.any() for name, gradient in expected.items() if "lora_B" in name)
    assert_equal(found, expected)
    assert loss == pytest.approx(value.item(), rel=1e-5)


@pytest.mark.parametrize("lora", [None, LORA], ids=["whole", "lora"])
def test_it_is_the_loss_of_trl(lora: LoraSettings | None, monkeypatch: pytest.MonkeyPatch) -> None:
    from trl import SFTTrainer

    settings = ONE_STEP.model_copy(update={"lora": lora})
    ours, our_loss = trained_gradients(tiny_llama(), settings)
    calls: list[str] = []

    def theirs_instead(self: Any, *inputs: Any, **options: Any) -> Any:
        calls.append("trl")
        return SFTTrainer.compute_loss(self, *inputs, **options)

    monkeypatch.setattr(ResponseLossTrainer, "compute_loss", theirs_instead)
    theirs, their_loss = trained_gradients(tiny_llama(), settings)
    assert calls == ["trl"] * 3
    assert_equal(ours, theirs)
    assert our_loss == pytest.approx(their_loss, rel=1e-5)


def test_padding_is_taken_off_again_and_the_response_kept() -> None:
    inputs = {
        "input_ids": torch.tensor([[5, 6, 7, 0], [5, 6, 0, 9]]),
        "labels": torch.tensor([[-100, 6, 7, -100], [-100, -100, -100, 9]]),
        "attention_mask": torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]),
    }
    first, second = _examples(inputs)
    assert first.input_ids == (5, 6, 7)
    assert first.response_mask == (False, True, True)
    assert second.input_ids == (5, 6, 0, 9)
    assert second.response_mask == (False, False, False, True)
