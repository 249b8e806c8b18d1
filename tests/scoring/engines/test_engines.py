"""Both engines against explicit automatic differentiation, and what they leave behind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from gradshield.data.tokenization import TokenizedExample
from gradshield.errors import UserError
from gradshield.probes.direction import Direction, proxy_gradient
from gradshield.probes.proxies.first_token import FirstToken
from gradshield.scoring.batching import batches_by_length
from gradshield.scoring.engines import ENGINES, Engine, ExampleScore, default_engine
from gradshield.scoring.engines.finite_difference import FiniteDifference
from gradshield.scoring.engines.per_example import PerExample
from tests.tiny_models import (
    chat_tokenizer,
    full_logits_loss,
    mixed_examples,
    random_direction,
    same_weights,
    snapshot,
    tiny_gpt2,
    tiny_llama,
)

# The tiny models bend less than the built-in one, so their best step is a little longer.
FINITE_DIFFERENCE = FiniteDifference(step=3e-3)
ENGINE_LIST: list[Engine] = [PerExample(), FINITE_DIFFERENCE]


def scores(
    engine: Engine,
    model: PreTrainedModel,
    direction: Direction,
    batches: Sequence[Sequence[TokenizedExample]],
) -> dict[int, ExampleScore]:
    """With the mean loss, which the independent computations below take too."""
    found = engine(model, direction, batches, "mean")
    return {score.row: score for batch in found for score in batch}


def loss_gradient(
    model: PreTrainedModel, direction: Direction, example: TokenizedExample
) -> dict[str, torch.Tensor]:
    """Gradient of the mean loss by the weights of the direction, by layer name."""
    weights = [model.get_parameter(f"{name}.weight") for name in direction.tensors]
    gradients = torch.autograd.grad(full_logits_loss(model, example), weights)
    return dict(zip(direction.tensors, gradients, strict=True))


def fihs_by_autograd(
    model: PreTrainedModel, direction: Direction, example: TokenizedExample
) -> float:
    """-<grad l, g> / |g|, from the definition."""
    gradient = loss_gradient(model, direction, example)
    length = sum(float(tensor.square().sum()) for tensor in direction.tensors.values()) ** 0.5
    product = sum(
        float((gradient[name] * tensor).sum()) for name, tensor in direction.tensors.items()
    )
    return -product / length


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_per_example_is_the_definition(tied: bool) -> None:
    model = tiny_llama(tied=tied)
    direction = random_direction(model)
    examples = mixed_examples()
    found = scores(PerExample(), model, direction, [examples[:3], examples[3:]])
    expected = [fihs_by_autograd(model, direction, example) for example in examples]
    assert [found[row].fihs for row in range(len(examples))] == pytest.approx(
        expected, rel=1e-4, abs=1e-6
    )
    for example in examples:
        loss = float(full_logits_loss(model, example).detach())
        assert found[example.row].loss == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("model", [tiny_llama(), tiny_llama(tied=True), tiny_gpt2()])
def test_finite_difference_agrees_with_per_example(model: PreTrainedModel) -> None:
    proxy = FirstToken(compliant=100, refusing=101)
    prompts = ["Name a river.", "Yes or No?"]
    direction = proxy_gradient(model, chat_tokenizer(), proxy, prompts)
    batches = batches_by_length(mixed_examples(), 200)
    exact = scores(PerExample(), model, direction, batches)
    near = scores(FINITE_DIFFERENCE, model, direction, batches)
    rows = range(len(mixed_examples()))
    expected = np.array([exact[row].fihs for row in rows])
    found = np.array([near[row].fihs for row in rows])
    root_mean_square = np.sqrt(np.mean(expected**2))
    np.testing.assert_allclose(found, expected, atol=2e-3 * root_mean_square, rtol=0)
    losses = [exact[row].loss for row in rows]
    assert [near[row].loss for row in rows] == pytest.approx(losses, rel=1e-4)


def test_token_scores_sum_to_the_score() -> None:
    model = tiny_llama()
    found = scores(FINITE_DIFFERENCE, model, random_direction(model), [mixed_examples()])
    for example in mixed_examples():
        tokens = found[example.row].token_fihs
        assert tokens is not None
        assert len(tokens) == example.response_tokens
        assert sum(tokens) == pytest.approx(found[example.row].fihs, abs=1e-12)


def test_a_row_scores_the_same_alone_and_in_a_mixed_batch() -> None:
    model = tiny_llama()
    direction = random_direction(model)
    together = scores(FINITE_DIFFERENCE, model, direction, [mixed_examples()])
    alone = scores(FINITE_DIFFERENCE, model, direction, [[one] for one in mixed_examples()])
    largest = max(abs(score.fihs) for score in alone.values())
    for row, score in alone.items():
        assert together[row].loss == pytest.approx(score.loss, rel=1e-5)
        assert together[row].fihs == pytest.approx(score.fihs, abs=2e-3 * largest)


@pytest.mark.parametrize("engine", ENGINE_LIST, ids=lambda engine: engine.name)
def test_weights_are_bit_for_bit_the_same_between_batches_and_at_the_end(engine: Engine) -> None:
    model = tiny_llama()
    before = snapshot(model)
    batches = [[example] for example in mixed_examples()]
    for _ in engine(model, random_direction(model), batches):
        assert same_weights(model, before)
    assert same_weights(model, before)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("engine", ENGINE_LIST, ids=lambda engine: engine.name)
def test_weights_survive_a_fault_in_the_caller(engine: Engine) -> None:
    model = tiny_llama()
    model.lm_head.weight.requires_grad_(False)
    before = snapshot(model)
    running = engine(model, random_direction(model), [[example] for example in mixed_examples()])
    next(running)
    # The caller stops here and keeps the generator, as a traceback would.
    assert same_weights(model, before)
    assert model.model.layers[0].mlp.up_proj.weight.requires_grad
    assert not model.lm_head.weight.requires_grad


@pytest.mark.parametrize("engine", ENGINE_LIST, ids=lambda engine: engine.name)
def test_weights_survive_a_fault_in_the_model(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_llama()
    before = snapshot(model)
    whole_forward = model.model.forward
    calls = 0

    def forward(*args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise MemoryError
        return whole_forward(*args, **kwargs)

    monkeypatch.setattr(model.model, "forward", forward)
    with pytest.raises(MemoryError):
        list(engine(model, random_direction(model), [[example] for example in mixed_examples()]))
    assert same_weights(model, before)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_finite_difference_refuses_half_precision(dtype: torch.dtype) -> None:
    model = tiny_llama().to(dtype)
    with pytest.raises(UserError, match=r"needs float32 weights.*per_example"):
        list(FiniteDifference()(model, random_direction(model), [mixed_examples()]))
    assert ENGINES[default_engine(dtype)].name == "per_example"


def test_float32_is_scored_by_finite_differences() -> None:
    assert ENGINES[default_engine(torch.float32)].name == "finite_difference"


def unsafety(model: PreTrainedModel, prompts: Sequence[str]) -> float:
    """S of the proxy below, the textbook way."""
    total = 0.0
    for prompt in prompts:
        text = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
        ids = chat_tokenizer()(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
        last = model(ids).logits[0, -1]
        total += float(last[100] - last[101])
    return total / len(prompts)


@torch.no_grad()
def unsafety_after(
    model: PreTrainedModel, gradient: dict[str, torch.Tensor], eta: float, prompts: Sequence[str]
) -> float:
    """S after the step theta - eta gradient; the model is put back."""
    for name, part in gradient.items():
        model.get_parameter(f"{name}.weight").sub_(eta * part)
    value = unsafety(model, prompts)
    for name, part in gradient.items():
        model.get_parameter(f"{name}.weight").add_(eta * part)
    return value


def test_a_step_on_an_example_changes_the_proxy_by_its_score() -> None:
    # S(theta - eta grad l) - S(theta + eta grad l) = 2 eta FIHS |g| + O(eta^3).
    model = tiny_llama().double()
    proxy = FirstToken(compliant=100, refusing=101)
    prompts = ["Name a river.", "Reply as file"]
    direction = proxy_gradient(model, chat_tokenizer(), proxy, prompts)
    eta = 1e-4
    for example in mixed_examples()[:4]:
        [[score]] = PerExample()(model, direction, [[example]], "mean")
        gradient = loss_gradient(model, direction, example)
        raised = unsafety_after(model, gradient, eta, prompts)
        lowered = unsafety_after(model, gradient, -eta, prompts)
        expected = 2 * eta * score.fihs * direction.norm
        assert raised - lowered == pytest.approx(expected, rel=1e-2)
