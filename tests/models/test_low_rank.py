from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from gradshield.models import load_model
from gradshield.models.layers import block_linear_layers
from gradshield.models.low_rank import compress_change, cut_to_rank, save_as_adapter
from tests.tiny_models import chat_tokenizer, save_tiny_model, tiny_gpt2, tiny_llama


def diagonal(rows: int, columns: int, *values: float) -> Tensor:
    """A matrix with the given singular values."""
    matrix = torch.zeros(rows, columns)
    for place, value in enumerate(values):
        matrix[place, place] = value
    return matrix


def test_a_low_rank_change_is_kept_exactly() -> None:
    torch.manual_seed(0)
    change = {
        "one": torch.randn(12, 2) @ torch.randn(2, 7),
        "two": torch.randn(5, 1) @ torch.randn(1, 9),
    }
    # Two directions of 12 + 7 numbers and one of 5 + 9.
    found = compress_change(change, 2 * 19 + 14)
    assert found.energy_kept == pytest.approx(1.0, abs=1e-5)
    assert {name: a.shape[0] for name, (a, _) in found.factors.items()} == {"one": 2, "two": 1}
    for name, (a, b) in found.factors.items():
        torch.testing.assert_close(b @ a, change[name], rtol=1e-4, atol=1e-5)


def test_the_budget_goes_to_the_directions_with_most_energy_per_number() -> None:
    # Per number: one 16 / 10, 9 / 10, 1 / 10; two 16 / 4, 4 / 4.
    change = {"one": diagonal(5, 5, 4, 3, 1), "two": diagonal(2, 2, 4, 2)}
    found = compress_change(change, 4 + 10 + 4 + 9)
    assert {name: a.shape[0] for name, (a, _) in found.factors.items()} == {"one": 1, "two": 2}
    # 16 + 16 + 4 of 16 + 9 + 1 + 16 + 4.
    assert found.energy_kept == pytest.approx(36 / 46)
    one_a, one_b = found.factors["one"]
    torch.testing.assert_close(one_b @ one_a, diagonal(5, 5, 4))


def test_a_layer_without_room_is_left_out() -> None:
    change = {"one": diagonal(5, 5, 1), "two": diagonal(2, 2, 4)}
    assert list(compress_change(change, 4).factors) == ["two"]


@pytest.mark.parametrize("limit", [30, 60, 61, 200, 10_000])
def test_the_budget_is_never_exceeded(limit: int) -> None:
    torch.manual_seed(0)
    change = {"one": torch.randn(9, 7), "two": torch.randn(4, 11)}
    found = compress_change(change, limit)
    assert sum(a.numel() + b.numel() for a, b in found.factors.values()) <= limit
    whole = sum(float(delta.square().sum()) for delta in change.values())
    kept = sum(float((b @ a).square().sum()) for a, b in found.factors.values())
    assert found.energy_kept == pytest.approx(kept / whole, rel=1e-4)


@pytest.mark.parametrize(
    ("delta", "limit"), [(torch.zeros(4, 4), 100), (torch.eye(4), 7)], ids=["no change", "no room"]
)
def test_nothing_to_keep_is_an_error(delta: Tensor, limit: int) -> None:
    with pytest.raises(ValueError, match="no change to compress, or no room"):
        compress_change({"one": delta}, limit)


def low_rank_change(shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
    """A change [out, in] of rank 1, 2 or 3 for every layer."""
    torch.manual_seed(3)
    return {
        name: 0.1 * torch.randn(shape[0], 1 + index % 3) @ torch.randn(1 + index % 3, shape[1])
        for index, (name, shape) in enumerate(shapes.items())
    }


def test_a_saved_adapter_loads_as_base_plus_change(tmp_path: Path) -> None:
    base = tiny_llama()
    layers = block_linear_layers(base)
    change = low_rank_change({name: layer.weight.shape for name, layer in layers.items()})
    # Room for every direction that is there; ranks differ by layer.
    room = sum(sum(delta.shape) * (1 + index % 3) for index, delta in enumerate(change.values()))
    adapter = tmp_path / "adapter"
    compressed = compress_change(change, room)
    assert compressed.energy_kept == pytest.approx(1.0, abs=1e-5)
    save_as_adapter(compressed, adapter, "tiny")
    loaded = load_model(str(save_tiny_model(tmp_path / "base")), adapter=adapter, device="cpu")
    found = block_linear_layers(loaded.model)
    for name, delta in change.items():
        # Two factors in float16, with eleven bits each.
        error = (found[name].weight - layers[name].weight - delta).norm() / delta.norm()
        assert error.item() < 2**-10
    assert torch.equal(loaded.model.lm_head.weight, base.lm_head.weight)
    assert {
        tensor.dtype for tensor in load_file(adapter / "adapter_model.safetensors").values()
    } == {torch.float16}
    settings = json.loads((adapter / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "tiny"


def test_a_saved_adapter_loads_on_a_model_with_conv1d_layers(tmp_path: Path) -> None:
    base = tiny_gpt2()
    base.save_pretrained(tmp_path / "base")
    chat_tokenizer().save_pretrained(tmp_path / "base")
    layers = block_linear_layers(base)
    change = low_rank_change({name: layer.weight.T.shape for name, layer in layers.items()})
    save_as_adapter(compress_change(change, 100_000), tmp_path / "adapter", "tiny")
    loaded = load_model(str(tmp_path / "base"), adapter=tmp_path / "adapter", device="cpu")
    found = block_linear_layers(loaded.model)
    for name, delta in change.items():
        error = (found[name].weight - layers[name].weight - delta.T).norm() / delta.norm()
        assert error.item() < 2**-10


def test_every_matrix_is_cut_to_its_leading_directions() -> None:
    torch.manual_seed(1)
    change = {"wide": torch.randn(6, 40), "square": 3 * torch.randn(20, 20)}
    found = cut_to_rank(change, 4)
    kept = 0.0
    for name, delta in change.items():
        left, values, right = torch.linalg.svd(delta, full_matrices=False)
        best = left[:, :4] * values[:4] @ right[:4]
        a, b = found.factors[name]
        assert a.shape == (4, delta.shape[1])
        assert b.shape == (delta.shape[0], 4)
        torch.testing.assert_close(b @ a, best, atol=1e-2, rtol=1e-2)
        kept += float(values[:4].square().sum())
    whole = sum(float(delta.square().sum()) for delta in change.values())
    assert found.energy_kept == pytest.approx(kept / whole, rel=1e-4)


def test_cutting_is_repeatable_and_leaves_the_generator_alone() -> None:
    change = {"one": torch.randn(12, 30)}
    torch.manual_seed(5)
    once = cut_to_rank(change, 2)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))
    again = cut_to_rank(change, 2)
    assert all(
        torch.equal(one, other)
        for one, other in zip(once.factors["one"], again.factors["one"], strict=True)
    )


def test_more_directions_than_a_matrix_has_are_all_of_it() -> None:
    change = {"one": torch.randn(3, 5)}
    found = cut_to_rank(change, 16)
    a, b = found.factors["one"]
    torch.testing.assert_close(b @ a, change["one"], atol=1e-5, rtol=1e-4)
    assert found.energy_kept == pytest.approx(1.0)


def test_nothing_cannot_be_cut() -> None:
    with pytest.raises(ValueError, match="no change to cut"):
        cut_to_rank({"one": torch.zeros(3, 3)}, 1)
