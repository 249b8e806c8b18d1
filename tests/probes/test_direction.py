from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from gradshield.errors import UserError
from gradshield.probes.direction import (
    PROBE_BATCH,
    Direction,
    load_direction,
    proxy_gradient,
    save_direction,
    with_record,
    without_component,
)
from gradshield.probes.proxies import PROXIES, OwnAnswers, SafetyProxy
from gradshield.probes.proxies.first_token import FirstToken
from tests.tiny_models import (
    chat_tokenizer,
    random_direction,
    same_weights,
    snapshot,
    tiny_gpt2,
    tiny_llama,
)

# More than one batch, the last one not full.
PROMPTS = [f"Name river number {number}" + "!" * number for number in range(PROBE_BATCH + 3)]


def dot(one: Direction, other: Direction) -> float:
    return sum(
        float((one.tensors[name].double() * other.tensors[name].double()).sum())
        for name in one.tensors
    )


@pytest.mark.parametrize("name", PROXIES)
def test_gradient_is_that_of_the_mean_over_all_prompts(name: str) -> None:
    model, tokenizer = tiny_llama(), chat_tokenizer()
    proxy: SafetyProxy = PROXIES[name](tokenizer, OwnAnswers(harmful=[], ordinary=[]))
    counts: list[int] = []
    direction = proxy_gradient(model, tokenizer, proxy, PROMPTS, progress=counts.append)
    mean = torch.stack([proxy.values(model, tokenizer, [one])[0] for one in PROMPTS]).mean()
    weights = [model.get_parameter(f"{layer}.weight") for layer in direction.tensors]
    for found, expected in zip(
        direction.tensors.values(), torch.autograd.grad(mean, weights), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    assert direction.record["value"] == pytest.approx(float(mean.detach()), rel=1e-4)
    assert direction.record["proxy"] == name
    assert direction.record["probes"] == len(PROMPTS)
    assert counts == [PROBE_BATCH, 3]


def test_a_step_along_the_direction_raises_the_proxy() -> None:
    model, tokenizer = tiny_llama(), chat_tokenizer()
    proxy = FirstToken(compliant=70, refusing=71)
    direction = proxy_gradient(model, tokenizer, proxy, PROMPTS[:4])
    with torch.no_grad():
        before = float(proxy.values(model, tokenizer, PROMPTS[:4]).mean())
        for name, tensor in direction.tensors.items():
            model.get_parameter(f"{name}.weight").add_(1e-3 / direction.norm * tensor)
        after = float(proxy.values(model, tokenizer, PROMPTS[:4]).mean())
    assert after - before == pytest.approx(1e-3 * direction.norm, rel=0.05)


def test_the_model_is_left_as_it_was() -> None:
    model = tiny_llama()
    model.lm_head.weight.requires_grad_(False)
    before = snapshot(model)
    proxy_gradient(model, chat_tokenizer(), FirstToken(70, 71), PROMPTS[:2])
    assert same_weights(model, before)
    assert not model.lm_head.weight.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


def test_modules_choose_the_layers() -> None:
    direction = proxy_gradient(
        tiny_gpt2(), chat_tokenizer(), FirstToken(70, 71), PROMPTS[:2], modules=r"h\.1\.mlp"
    )
    assert list(direction.tensors) == ["transformer.h.1.mlp.c_fc", "transformer.h.1.mlp.c_proj"]
    assert direction.tensors["transformer.h.1.mlp.c_fc"].shape == (32, 128)
    assert direction.record["modules"] == r"h\.1\.mlp"


def test_norm_is_over_all_layers() -> None:
    direction = Direction({"a": torch.tensor([[1.0, 2.0]]), "b": torch.full((2, 2), 2.0)}, {})
    # 1 + 4 + 4 x 4 = 21
    assert direction.norm == pytest.approx(math.sqrt(21))


def test_a_zero_gradient_is_a_user_error() -> None:
    # S compares a token with itself.
    with pytest.raises(UserError, match=r"proxy first_token has length 0\.0"):
        proxy_gradient(tiny_llama(), chat_tokenizer(), FirstToken(70, 70), PROMPTS[:2])


def test_layers_that_the_proxy_does_not_touch_are_a_user_error() -> None:
    model = tiny_llama()
    model.unused = torch.nn.Linear(3, 3)
    with pytest.raises(UserError, match="check --modules"):
        proxy_gradient(model, chat_tokenizer(), FirstToken(70, 71), PROMPTS[:2], modules="^unused$")


def test_a_layer_that_is_not_run_counts_for_nothing() -> None:
    model = tiny_llama()
    plain = proxy_gradient(model, chat_tokenizer(), FirstToken(70, 71), PROMPTS[:2])
    model.unused = torch.nn.Linear(3, 3)
    found = proxy_gradient(model, chat_tokenizer(), FirstToken(70, 71), PROMPTS[:2])
    assert not found.tensors["unused"].any()
    assert found.norm == pytest.approx(plain.norm)


def test_a_gradient_that_overflows_is_a_user_error() -> None:
    model = tiny_llama()
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight.fill_(math.inf)
    with pytest.raises(UserError, match="--dtype float32"):
        proxy_gradient(model, chat_tokenizer(), FirstToken(70, 71), PROMPTS[:2])


def test_what_is_left_is_orthogonal_to_what_was_taken_out() -> None:
    one, other = random_direction(tiny_llama(), seed=1), random_direction(tiny_llama(), seed=2)
    # Overlapping on purpose: two random directions hardly do.
    mixed = Direction(
        {name: tensor + 0.5 * other.tensors[name] for name, tensor in one.tensors.items()}, {}
    )
    left = without_component(mixed, other)
    assert dot(left, other) == pytest.approx(0, abs=1e-6 * other.norm * left.norm)
    again = without_component(left, other)
    for name, tensor in left.tensors.items():
        torch.testing.assert_close(again.tensors[name], tensor, rtol=1e-4, atol=1e-5)


def test_taking_a_component_out_by_hand() -> None:
    # (3, 4) along (0, 2): its component is (0, 4) and the cosine 8 / (5 x 2).
    direction = Direction({"a": torch.tensor([[3.0]]), "b": torch.tensor([[4.0]])}, {"probes": 2})
    other = Direction({"b": torch.tensor([[2.0]]), "a": torch.tensor([[0.0]])}, {})
    left = without_component(direction, other)
    assert {name: float(tensor) for name, tensor in left.tensors.items()} == {"a": 3.0, "b": 0.0}
    assert left.record["benign_cosine"] == pytest.approx(0.8)
    assert left.record["benign_removed"] is True
    assert left.record["probes"] == 2


def test_a_direction_reads_back_as_it_was_written(tmp_path: Path) -> None:
    direction = with_record(random_direction(tiny_llama()), probes=[1, 2], note="é")
    save_direction(direction, tmp_path / "new" / "direction.safetensors")
    loaded = load_direction(tmp_path / "new" / "direction.safetensors")
    assert loaded.record == {"proxy": "random", "probes": [1, 2], "note": "é"}
    assert loaded.tensors.keys() == direction.tensors.keys()
    for name, tensor in direction.tensors.items():
        assert torch.equal(loaded.tensors[name], tensor)
    assert loaded.norm == direction.norm
