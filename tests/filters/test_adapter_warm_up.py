"""The warm-up against a training written down by hand: merged weights, Adam in a few lines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch.func import functional_call
from torch.nn import functional
from transformers import PreTrainedModel

from gradshield.data.tokenization import TokenizedExample
from gradshield.filters.adapter_warm_up import (
    adam_step,
    attention_adapter,
    flat,
    gradient_at,
    warm_up,
)
from gradshield.finetuning.supervised import LoraSettings, TrainingSettings, training_order
from tests.tiny_models import (
    losses,
    mixed_examples,
    same_weights,
    snapshot,
    tiny_gpt2,
    tiny_llama,
)

LORA = LoraSettings(rank=2, alpha=8)
TRAINING = TrainingSettings(
    learning_rate=1e-2, epochs=3, batch_size=4, micro_batch_size=2, warmup_steps=2, seed=5
)
Adapter = dict[str, torch.Tensor]


def first_adapter(model: PreTrainedModel) -> Adapter:
    with attention_adapter(model, LORA, seed=7):
        return {
            name: parameter.detach().clone()
            for name, parameter in model.named_parameters()
            if "lora_" in name
        }


def merged_loss(
    model: PreTrainedModel, adapter: Adapter, example: TokenizedExample
) -> torch.Tensor:
    """Mean loss of the model with W + (alpha / rank) B A in place of each W."""
    weights = dict(model.state_dict())
    for name, a in adapter.items():
        if ".lora_A." in name:
            layer, b = name.split(".lora_A.")[0], adapter[name.replace("lora_A", "lora_B")]
            weights[f"{layer}.weight"] = weights[f"{layer}.weight"] + 4.0 * (b @ a)
    ids = torch.tensor([example.input_ids])
    labels = ids.masked_fill(~torch.tensor([example.response_mask]), -100)
    logits = functional_call(model, weights, (ids,)).logits
    return functional.cross_entropy(logits[0, :-1], labels[0, 1:])


def gradient(
    model: PreTrainedModel, adapter: Adapter, examples: list[TokenizedExample]
) -> torch.Tensor:
    """Gradient of the mean over examples of their mean losses, [numbers]."""
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in adapter.items()}
    loss = torch.stack([merged_loss(model, leaves, example) for example in examples]).mean()
    parts = torch.autograd.grad(loss, list(leaves.values()))
    return flat(parts)


def trained_by_hand(
    model: PreTrainedModel, adapter: Adapter
) -> Iterator[tuple[Adapter, torch.Tensor, torch.Tensor, float]]:
    """After each epoch: adapter, means, squares and mean rate. 7 examples are 2 steps an epoch."""
    ordered = training_order(mixed_examples(), TRAINING)
    sizes = [tensor.numel() for tensor in adapter.values()]
    means, squares = torch.zeros(sum(sizes)), torch.zeros(sum(sizes))
    # Two steps of rise, then down to zero after the sixth.
    rates = [0.0, 0.5e-2, 1e-2, 0.75e-2, 0.5e-2, 0.25e-2]
    bounds = [(0, 4), (4, 7), (7, 11), (11, 14), (14, 18), (18, 21)]
    for step, (rate, (start, end)) in enumerate(zip(rates, bounds, strict=True), 1):
        found = gradient(model, adapter, ordered[start:end])
        found = found / max(1.0, float(found.norm()))
        means = 0.9 * means + 0.1 * found
        squares = 0.999 * squares + 0.001 * found**2
        corrected = (squares / (1 - 0.999**step)).sqrt() + 1e-8
        move = rate * (means / (1 - 0.9**step)) / corrected
        adapter = {
            name: tensor - part.view_as(tensor)
            for (name, tensor), part in zip(adapter.items(), move.split(sizes), strict=True)
        }
        if step % 2 == 0:
            yield adapter, means, squares, (rates[step - 2] + rate) / 2


def test_each_checkpoint_is_that_of_a_training_by_hand() -> None:
    model = tiny_llama()
    adapter = first_adapter(model)
    by_hand = trained_by_hand(model, adapter)
    # All of it first: with the adapter in place the model is another.
    expected = list(by_hand)
    example = mixed_examples()[0]
    gradients = [gradient(model, one[0], [example]) for one in expected]
    count = 0
    with attention_adapter(model, LORA, seed=7) as parameters:
        for checkpoint in warm_up(model, parameters, mixed_examples(), TRAINING):
            trained, means, squares, rate = expected[count]
            assert torch.allclose(flat(parameters), flat(list(trained.values())), atol=2e-5)
            assert torch.allclose(checkpoint.means, means, rtol=1e-3, atol=1e-6)
            assert torch.allclose(checkpoint.squares, squares, rtol=1e-3, atol=1e-9)
            assert checkpoint.rate == pytest.approx(rate)
            found = gradient_at(model, checkpoint, example)
            assert torch.allclose(found, gradients[count], rtol=1e-3, atol=1e-5)
            mean = 0.9 * means + 0.1 * gradients[count]
            square = 0.999 * squares + 0.001 * gradients[count] ** 2
            by_hand_step = mean / torch.sqrt(square + 1e-8)
            assert torch.allclose(adam_step(checkpoint, found), by_hand_step, rtol=1e-2, atol=1e-4)
            count += 1
    assert count == 3


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
def test_the_model_is_as_before_when_the_adapter_is_gone(make: type[PreTrainedModel]) -> None:
    model = make()
    before = snapshot(model)
    modules = [(name, id(module)) for name, module in model.named_modules()]
    next(model.parameters()).requires_grad_(False)
    flags = [one.requires_grad for one in model.parameters()]
    loss = losses(mixed_examples()[:1], model)[0]
    random_state = torch.get_rng_state()
    with attention_adapter(model, LORA, seed=0) as parameters:
        names = [name for name, one in model.named_parameters() if one.requires_grad]
        assert all("attn" in name and "lora_" in name for name in names)
        assert len(names) == len(parameters) > 0
        assert losses(mixed_examples()[:1], model)[0] == pytest.approx(loss)
        list(warm_up(model, parameters, mixed_examples()[:3], TRAINING))
        assert abs(losses(mixed_examples()[:1], model)[0] - loss) > 1e-4
    assert same_weights(model, before)
    assert [(name, id(module)) for name, module in model.named_modules()] == modules
    assert [one.requires_grad for one in model.parameters()] == flags
    assert not model.training
    assert not hasattr(model, "peft_config")
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(one.grad is None for one in model.parameters())


def test_the_model_is_as_before_when_something_fails() -> None:
    model = tiny_llama()
    before, flags = snapshot(model), [one.requires_grad for one in model.parameters()]
    with pytest.raises(RuntimeError, match="midway"), attention_adapter(model, LORA, seed=0):
        raise RuntimeError("midway")
    assert same_weights(model, before)
    assert [one.requires_grad for one in model.parameters()] == flags
