from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from gradshield.finetuning.adapter import (
    Factors,
    copied,
    fresh_adapter,
    inner_product_of_changes,
    write_back,
)
from gradshield.finetuning.supervised import LoraSettings
from gradshield.models.layers import block_linear_layers
from tests.tiny_models import losses, mixed_examples, same_weights, snapshot, tiny_gpt2, tiny_llama

LORA = LoraSettings(rank=3, alpha=6)
MODELS = pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2], ids=["llama", "gpt2"])
pytestmark = pytest.mark.filterwarnings("ignore:fan_in_fan_out")


def fill(adapter: Sequence[Factors], seed: int = 0) -> None:
    """Random factors, B too."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for a, b in adapter:
            a.normal_()
            b.normal_()


@MODELS
def test_a_fresh_adapter_changes_nothing_and_leaves_nothing(
    make: Callable[[], PreTrainedModel],
) -> None:
    model = make()
    flags = [parameter.requires_grad for parameter in model.parameters()]
    layers = len(block_linear_layers(model))
    before, losses_before = snapshot(model), losses(mixed_examples(), model)
    with fresh_adapter(model, LORA, 0) as adapter:
        assert len(adapter) == layers > 0
        assert losses(mixed_examples(), model) == pytest.approx(losses_before)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        assert {id(p) for p in trained} == {id(p) for pair in adapter for p in pair}
        fill(adapter)
        assert losses(mixed_examples(), model) != pytest.approx(losses_before)
    assert same_weights(model, before)
    assert losses(mixed_examples(), model) == losses_before
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert not any(module.training for module in model.modules())


def test_the_seed_alone_decides_a_and_no_other_random_number() -> None:
    def drawn(seed: int) -> tuple[list[Factors], Tensor]:
        with fresh_adapter(tiny_llama(), LORA, seed) as adapter:
            return copied(adapter), torch.rand(1)

    one, after_one = drawn(0)
    torch.rand(5)
    again, after_again = drawn(0)
    other, _ = drawn(1)
    assert all(torch.equal(a, same) for (a, _), (same, _) in zip(one, again, strict=True))
    assert not any(torch.equal(a, differs) for (a, _), (differs, _) in zip(one, other, strict=True))
    assert not any(bool(b.any()) for _, b in one)
    assert torch.equal(after_one, after_again)


@MODELS
def test_a_merged_adapter_adds_alpha_over_rank_times_b_a(
    make: Callable[[], PreTrainedModel],
) -> None:
    model = make()
    before = {name: layer.weight.clone() for name, layer in block_linear_layers(model).items()}
    with fresh_adapter(model, LORA, 0, merge=True) as adapter:
        fill(adapter)
        factors = copied(adapter)
    for (name, layer), (a, b) in zip(block_linear_layers(model).items(), factors, strict=True):
        change = LORA.alpha / LORA.rank * (b @ a)
        expected = before[name] + (change.T if isinstance(layer, Conv1D) else change)
        torch.testing.assert_close(layer.weight, expected)


def test_a_block_that_fails_merges_nothing() -> None:
    model = tiny_llama()
    before = snapshot(model)

    def fail() -> None:
        with fresh_adapter(model, LORA, 0, merge=True) as adapter:
            fill(adapter)
            raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        fail()
    assert same_weights(model, before)


def test_factors_are_written_back() -> None:
    with fresh_adapter(tiny_llama(), LORA, 0) as adapter:
        start = copied(adapter)
        fill(adapter)
        write_back(adapter, start)
        for now, then in zip(adapter, start, strict=True):
            assert all(torch.equal(one, other) for one, other in zip(now, then, strict=True))


def test_the_inner_product_is_that_of_the_matrices() -> None:
    torch.manual_seed(0)
    some = torch.randn(3, 7), torch.randn(5, 3)
    others = torch.randn(2, 7), torch.randn(5, 2)
    expected = ((some[1] @ some[0]) * (others[1] @ others[0])).sum()
    torch.testing.assert_close(inner_product_of_changes(some, others), expected)
