from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from gradshield.errors import UserError
from gradshield.models.prompts import prompt_response_example
from gradshield.probes.direction import (
    PROBE_BATCH,
    Direction,
    joined,
    load_direction,
    normalised_by_module,
    proxy_gradient,
    save_direction,
    training_direction,
    with_record,
    without_span,
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


@pytest.mark.parametrize("name", PROXIES)
def test_gradient_is_that_of_the_mean_over_all_prompts(name: str) -> None:
    model, tokenizer = tiny_llama(), chat_tokenizer()
    proxy: SafetyProxy = PROXIES[name](tokenizer, OwnAnswers(harmful=[], ordinary=[]))
    counts: list[int] = []
    direction = proxy_gradient(model, tokenizer, proxy, PROMPTS, progress=counts.append)
    mean = torch.stack(
        [proxy.values(model, tokenizer, [one], place)[0] for place, one in enumerate(PROMPTS)]
    ).mean()
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


def test_a_module_that_counts_for_nothing_stays_so_when_all_are_made_alike() -> None:
    direction = Direction({"some": torch.full((2, 2), 3.0), "none": torch.zeros(2, 2)}, {})
    found = normalised_by_module(direction)
    torch.testing.assert_close(found.tensors["some"], torch.full((2, 2), 0.5))
    assert not found.tensors["none"].any()


def test_the_layout_of_the_matrices_is_recorded() -> None:
    for model, layout in ((tiny_llama(), "out, in"), (tiny_gpt2(), "in, out")):
        found = proxy_gradient(model, chat_tokenizer(), FirstToken(70, 71), PROMPTS[:1])
        assert found.record["layout"] == layout


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


def test_what_is_left_is_orthogonal_to_all_that_was_taken_out_in_every_layer() -> None:
    one, *others = (random_direction(tiny_llama(), seed=seed) for seed in range(4))
    # Overlapping on purpose: two random directions hardly do. The last is a copy, and tiny.
    mixed = Direction(
        {name: tensor + 0.5 * others[0].tensors[name] for name, tensor in one.tensors.items()}, {}
    )
    span = [other.tensors for other in others]
    span.append({name: 1e-6 * tensor for name, tensor in others[0].tensors.items()})
    left = without_span(mixed, span)
    for name, tensor in left.tensors.items():
        for other in span:
            product = float((tensor.double() * other[name].double()).sum())
            assert abs(product) <= 1e-5 * float(tensor.norm() * other[name].norm())
    again = without_span(left, span)
    for name, tensor in left.tensors.items():
        torch.testing.assert_close(again.tensors[name], tensor, rtol=1e-4, atol=1e-5)
    assert again.record["energy_left"] == pytest.approx(1.0)


def test_taking_a_span_out_by_hand() -> None:
    # In a, (3, 4, 12) without what (0, 2, 0) and (0, 1, 1) span is (3, 0, 0); in b the others are
    # zero and nothing is taken. Of 9 + 16 + 144 + 31, 9 + 31 is left.
    direction = Direction(
        {"a": torch.tensor([[3.0, 4.0, 12.0]]), "b": torch.tensor([[31**0.5]])}, {"probes": 2}
    )
    zero = torch.zeros(1, 1)
    left = without_span(
        direction,
        [
            {"b": zero, "a": torch.tensor([[0.0, 2.0, 0.0]])},
            {"b": zero, "a": torch.tensor([[0.0, 1.0, 1.0]])},
        ],
    )
    torch.testing.assert_close(left.tensors["a"], torch.tensor([[3.0, 0.0, 0.0]]))
    assert torch.equal(left.tensors["b"], direction.tensors["b"])
    assert left.record == {"probes": 2, "energy_left": pytest.approx(40 / 200)}


def test_nothing_left_is_a_user_error() -> None:
    direction = Direction({"a": torch.tensor([[0.0, 4.0]])}, {"proxy": "contrast"})
    with pytest.raises(UserError, match="proxy contrast has length 0"):
        without_span(direction, [{"a": torch.tensor([[0.0, 1.0]])}])


def test_joining_by_hand() -> None:
    # Lengths over both weights: |(3, 0, 4)| = 5 and |(0, 2, 0)| = 2.
    one = Direction(
        {"a": torch.tensor([[3.0, 0.0]]), "b": torch.tensor([[4.0]])},
        {"proxy": "contrast", "value": -2.0, "probes": 7},
    )
    other = Direction(
        {"b": torch.tensor([[0.0]]), "a": torch.tensor([[0.0, 2.0]])},
        {"proxy": "past_refusal", "value": 0.5, "probes": 9},
    )
    found = joined([one, other])
    torch.testing.assert_close(found.tensors["a"], torch.tensor([[0.6, 1.0]]))
    torch.testing.assert_close(found.tensors["b"], torch.tensor([[0.8]]))
    assert found.record == {
        "proxy": "contrast+past_refusal",
        "value": -2.0,
        "values": [-2.0, 0.5],
        "probes": 7,
    }


def test_neither_order_nor_length_of_what_is_joined_matters() -> None:
    parts = [
        with_record(random_direction(tiny_llama(), seed=seed), value=float(seed))
        for seed in range(3)
    ]
    longer = [
        Direction({name: scale * part for name, part in one.tensors.items()}, one.record)
        for scale, one in zip((1e-4, 1.0, 300.0), parts, strict=True)
    ]
    expected = joined(parts)
    for others in (parts[::-1], longer, longer[1:] + longer[:1]):
        found = joined(others)
        for name, tensor in expected.tensors.items():
            torch.testing.assert_close(found.tensors[name], tensor, rtol=1e-4, atol=1e-6)
    assert expected.record["values"] == [0.0, 1.0, 2.0]


def test_a_direction_alone_is_joined_to_nothing() -> None:
    # Not even made a unit long, so that a single proxy is measured as ever.
    one = random_direction(tiny_llama())
    assert joined([one]) is one


def test_directions_that_undo_each_other_are_a_user_error() -> None:
    one = with_record(random_direction(tiny_llama()), value=1.0)
    other = Direction({name: -2 * part for name, part in one.tensors.items()}, one.record)
    with pytest.raises(UserError, match=r"has length 0\.0"):
        joined([one, other])


def test_training_moves_the_weights_against_the_gradient_of_the_mean_loss() -> None:
    model = tiny_llama()
    rows = [
        prompt_response_example(range(5, 9 + number), range(40, 43 + 2 * number))
        for number in range(PROBE_BATCH + 2)
    ]
    counts: list[int] = []
    found = training_direction(model, rows, modules="mlp", progress=counts.append)
    losses = []
    for row in rows:
        # The library's own loss, a mean over the labels that are not -100.
        labels = [
            t if kept else -100 for t, kept in zip(row.input_ids, row.response_mask, strict=True)
        ]
        losses.append(model(torch.tensor([row.input_ids]), labels=torch.tensor([labels])).loss)
    weights = [model.get_parameter(f"{layer}.weight") for layer in found]
    expected = torch.autograd.grad(torch.stack(losses).mean(), weights)
    for one, other in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(one, -other, rtol=1e-3, atol=1e-5)
    assert counts == [PROBE_BATCH, 2]


def test_a_direction_reads_back_as_it_was_written(tmp_path: Path) -> None:
    direction = with_record(random_direction(tiny_llama()), probes=[1, 2], note="é")
    save_direction(direction, tmp_path / "new" / "direction.safetensors")
    loaded = load_direction(tmp_path / "new" / "direction.safetensors")
    assert loaded.record == {"proxy": "random", "probes": [1, 2], "note": "é"}
    assert loaded.tensors.keys() == direction.tensors.keys()
    for name, tensor in direction.tensors.items():
        assert torch.equal(loaded.tensors[name], tensor)
    assert loaded.norm == direction.norm
