"""The engines against explicit automatic differentiation, and what they leave behind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch.nn import functional
from transformers import PreTrainedModel

from gradshield.data.tokenization import TokenizedExample
from gradshield.errors import UserError
from gradshield.probes.direction import Direction, proxy_gradient, training_direction
from gradshield.probes.proxies.first_token import FirstToken
from gradshield.scoring.batching import batches_by_length
from gradshield.scoring.engines import ENGINES, Engine, ExampleScore, default_engine
from gradshield.scoring.engines.base import WINDOW, Reduction
from gradshield.scoring.engines.finite_difference import FiniteDifference
from gradshield.scoring.engines.jvp import ForwardMode
from gradshield.scoring.engines.per_example import PerExample
from tests.tiny_architectures import ARCHITECTURES, tiny_architecture
from tests.tiny_models import (
    chat_example,
    chat_tokenizer,
    full_logits_loss,
    mixed_examples,
    random_direction,
    same_weights,
    snapshot,
    tiny_llama,
)

EXACT_ENGINES: list[Engine] = [PerExample(), PerExample(tokens=False), ForwardMode()]
ENGINE_LIST: list[Engine] = [PerExample(), ForwardMode(), FiniteDifference()]
EXACT, CLOSE = 1e-5, 1e-3
"""Differences from the oracle, relative to a typical score."""


def scores(
    engine: Engine,
    model: PreTrainedModel,
    direction: Direction,
    batches: Sequence[Sequence[TokenizedExample]],
    reduction: Reduction = "mean",
) -> dict[int, ExampleScore]:
    """With the mean loss, which most of the independent computations below take too."""
    prepared = engine.prepare(model, direction, reduction, mixed_examples())
    return {score.row: score for batch in batches for score in prepared.score(batch)}


def fihs(engine: Engine, model: PreTrainedModel, direction: Direction) -> np.ndarray:
    """Scores of the mixed examples in one batch, in their order."""
    found = scores(engine, model, direction, [mixed_examples()])
    return np.array([found[row].fihs for row in range(len(mixed_examples()))])


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Root mean square of the differences over that of the expected values."""
    return float(np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2)))


def training_on_a_few(model: PreTrainedModel, modules: str | None = None) -> Direction:
    """A direction that is the gradient of something, as those of runs are."""
    return Direction(training_direction(model, mixed_examples()[:3], modules=modules), {})


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


@pytest.mark.parametrize("engine", EXACT_ENGINES, ids=["per_example", "without tokens", "jvp"])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_exact_engines_are_the_definition(engine: Engine, tied: bool) -> None:
    model = tiny_llama(tied=tied)
    direction = random_direction(model)
    examples = mixed_examples()
    found = scores(engine, model, direction, [examples[:3], examples[3:]])
    expected = [fihs_by_autograd(model, direction, example) for example in examples]
    assert [found[row].fihs for row in range(len(examples))] == pytest.approx(
        expected, rel=1e-4, abs=1e-5
    )
    for example in examples:
        loss = float(full_logits_loss(model, example).detach())
        assert found[example.row].loss == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("modules", [None, "late_mlp"])
@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "bloom"])
def test_engines_agree_on_every_architecture(name: str, modules: str | None) -> None:
    model = tiny_architecture(name)
    direction = training_on_a_few(model, modules)
    expected = fihs(PerExample(tokens=False), model, direction)
    assert relative_error(fihs(PerExample(), model, direction), expected) < EXACT
    assert relative_error(fihs(ForwardMode(), model, direction), expected) < EXACT
    # A step sends some tokens to other experts, which is why experts are left to jvp.
    if default_engine(model)[0] == "finite_difference":
        assert relative_error(fihs(FiniteDifference(), model, direction), expected) < CLOSE
    else:
        assert name in ("mixtral", "qwen3_moe")


def test_a_model_that_folds_heads_into_the_batch_is_doubled_as_a_whole() -> None:
    model = tiny_architecture("bloom")
    direction = training_on_a_few(model, "late_mlp")
    expected = fihs(PerExample(tokens=False), model, direction)
    assert relative_error(fihs(FiniteDifference(), model, direction), expected) < CLOSE


def test_an_operation_without_a_forward_derivative_is_told() -> None:
    model = tiny_architecture("bloom")
    with pytest.raises(UserError, match="BloomForCausalLM holds an operation without a forward"):
        fihs(ForwardMode(), model, training_on_a_few(model))


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("engine", ENGINE_LIST, ids=lambda engine: engine.name)
def test_any_attention_serves(engine: Engine, attention: str) -> None:
    model = tiny_llama()
    model.set_attn_implementation(attention)
    direction = training_on_a_few(model)
    expected = fihs(PerExample(tokens=False), model, direction)
    assert relative_error(fihs(engine, model, direction), expected) < CLOSE
    assert model.config._attn_implementation == attention


def test_jvp_says_which_attention_it_takes_and_why() -> None:
    model = tiny_llama()
    prepared = ForwardMode().prepare(model, random_direction(model), "mean", mixed_examples())
    assert prepared.notes == (
        "attention by the math kernel: the fused ones have no forward derivative",
    )
    model.config._attn_implementation = "flash_attention_2"
    prepared = ForwardMode().prepare(model, random_direction(model), "mean", mixed_examples())
    assert "eager mode instead of flash_attention_2" in prepared.notes[0]


def many_examples() -> list[TokenizedExample]:
    """Forty rows of unlike text."""
    generator = np.random.default_rng(0)
    letters = [chr(letter) for letter in range(ord("a"), ord("z") + 1)] + [" "] * 5
    return [
        chat_example(
            row,
            "".join(generator.choice(letters, generator.integers(3, 20))),
            "".join(generator.choice(letters, generator.integers(3, 40))),
        )
        for row in range(40)
    ]


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_half_precision_ranks_like_the_oracle_in_float32(name: str, dtype: torch.dtype) -> None:
    model = tiny_architecture(name)
    examples = many_examples()
    # As long as a real one: 1e-3 in numbers of 1e-5, which float16 alone would lose.
    direction = training_on_a_few(model)
    short = Direction(
        {part: tensor * 1e-3 / direction.norm for part, tensor in direction.tensors.items()}, {}
    )
    exact = scores(PerExample(tokens=False), model, short, batches_by_length(examples, 400))
    model.to(dtype)
    engine = ENGINES[default_engine(model)[0]]
    assert engine.name == "jvp"
    found = scores(engine, model, short, batches_by_length(examples, 400))
    expected = [exact[row].fihs for row in range(len(examples))]
    half = [found[row].fihs for row in range(len(examples))]
    assert spearmanr(expected, half).statistic >= 0.995
    assert np.median(np.array(half) / expected) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_finite_difference_refuses_half_precision(dtype: torch.dtype) -> None:
    model = tiny_llama().to(dtype)
    with pytest.raises(UserError, match=r"needs float32 weights.*jvp"):
        FiniteDifference().prepare(model, random_direction(model), "mean", mixed_examples())


def test_float32_is_scored_by_finite_differences() -> None:
    assert default_engine(tiny_llama()) == (
        "finite_difference",
        "the fastest, and good in float32",
    )


def test_a_mixture_of_experts_is_not_scored_by_steps() -> None:
    assert default_engine(tiny_architecture("mixtral")) == (
        "jvp",
        "a step, however small, sends some tokens to other experts",
    )


@pytest.mark.parametrize("reduction", ["sum", "mean", "root"])
@pytest.mark.parametrize("engine", ENGINE_LIST, ids=lambda engine: engine.name)
def test_token_scores_sum_to_the_score_unless_a_window_is_taken(
    engine: Engine, reduction: Reduction
) -> None:
    model = tiny_llama()
    found = scores(engine, model, training_on_a_few(model), [mixed_examples()], reduction)
    largest = max(abs(score.fihs) for score in found.values())
    for example in mixed_examples():
        tokens = found[example.row].token_fihs
        assert tokens is not None
        assert len(tokens) == example.response_tokens
        assert sum(tokens) == pytest.approx(found[example.row].fihs, abs=1e-6 * largest)


def token_losses(model: PreTrainedModel, example: TokenizedExample) -> torch.Tensor:
    """Loss of each response token from all logits, [response tokens]."""
    ids = torch.tensor([example.input_ids])
    each = functional.cross_entropy(
        model(input_ids=ids).logits[0, :-1], ids[0, 1:], reduction="none"
    )
    return each[torch.tensor(example.response_mask)[1:]]


def worst_window_by_autograd(
    model: PreTrainedModel, direction: Direction, example: TokenizedExample
) -> float:
    """The definition for the summed loss of a window, one window after the other."""
    weights = [model.get_parameter(f"{name}.weight") for name in direction.tensors]
    losses = token_losses(model, example)
    found = []
    for start in range(max(1, len(losses) - WINDOW + 1)):
        window = losses[start : start + WINDOW].sum()
        gradients = torch.autograd.grad(window, weights, retain_graph=True)
        pairs = zip(gradients, direction.tensors.values(), strict=True)
        found.append(-sum(float((one * other).sum()) for one, other in pairs) / direction.norm)
    return max(found)


@pytest.mark.parametrize("reduction", ["worst_window", "sum_and_worst"])
def test_engines_that_see_tokens_score_the_worst_window(reduction: Reduction) -> None:
    model = tiny_llama()
    # Not of the loss on the rows themselves, which every token of them would share in.
    direction = proxy_gradient(model, chat_tokenizer(), FirstToken(100, 101), ["Name a river."])
    examples = mixed_examples()
    worst = np.array([worst_window_by_autograd(model, direction, one) for one in examples])
    counts = np.array([one.response_tokens for one in examples])
    whole = counts * [fihs_by_autograd(model, direction, one) for one in examples]
    assert sum(counts > WINDOW) >= 2
    assert sum(counts <= WINDOW) >= 2
    # A window is another thing than the whole row exactly where the row is longer.
    assert np.all(np.isclose(worst, whole, rtol=1e-3) == (counts <= WINDOW))
    expected = worst if reduction == "worst_window" else whole + worst
    for engine, error in zip(ENGINE_LIST, (EXACT, EXACT, CLOSE), strict=True):
        found = scores(engine, model, direction, [examples], reduction)
        values = np.array([found[row].fihs for row in range(len(examples))])
        assert relative_error(values, expected) < error
        # What the tokens add is that of the sum, all of them, not of the window alone.
        totals = np.array([sum(found[row].token_fihs or ()) for row in range(len(examples))])
        assert relative_error(totals, whole) < error


def test_an_engine_that_does_not_see_tokens_takes_the_whole_row_for_the_worst_window() -> None:
    model = tiny_llama()
    direction = training_on_a_few(model)
    engine = PerExample(tokens=False)
    window, whole = (
        scores(engine, model, direction, [mixed_examples()], reduction)
        for reduction in ("worst_window", "sum")
    )
    assert window == whole


def test_the_engines_agree_on_every_token() -> None:
    model = tiny_llama()
    direction = training_on_a_few(model)
    one, two, three = (
        scores(engine, model, direction, [mixed_examples()]) for engine in ENGINE_LIST
    )
    for row in range(len(mixed_examples())):
        expected = np.array(one[row].token_fihs)
        assert relative_error(np.array(two[row].token_fihs), expected) < EXACT
        assert relative_error(np.array(three[row].token_fihs), expected) < CLOSE


@pytest.mark.parametrize("engine", ENGINE_LIST, ids=lambda engine: engine.name)
def test_a_row_scores_the_same_alone_and_in_a_mixed_batch(engine: Engine) -> None:
    model = tiny_llama()
    direction = training_on_a_few(model)
    together = scores(engine, model, direction, [mixed_examples()])
    alone = scores(engine, model, direction, [[one] for one in mixed_examples()])
    largest = max(abs(score.fihs) for score in alone.values())
    for row, score in alone.items():
        assert together[row].loss == pytest.approx(score.loss, rel=1e-5)
        assert together[row].fihs == pytest.approx(score.fihs, abs=2e-3 * largest)


@pytest.mark.parametrize("engine", ENGINE_LIST, ids=lambda engine: engine.name)
def test_a_shared_prompt_changes_nothing(engine: Engine) -> None:
    # As long as it takes for the prompt to be computed once, and rows both kept and doubled.
    model = tiny_llama()
    direction = training_on_a_few(model, "late_mlp")
    prompt = "Say something about the river Loire."
    examples = [chat_example(row, prompt, "Yes. " * (row + 1)) for row in range(5)]
    expected = [fihs_by_autograd(model, direction, example) for example in examples]
    found = scores(engine, model, direction, [examples])
    assert (
        relative_error(np.array([found[row].fihs for row in range(5)]), np.array(expected)) < CLOSE
    )


@pytest.mark.parametrize("engine", ENGINE_LIST, ids=lambda engine: engine.name)
def test_weights_and_flags_are_the_same_after_every_batch(engine: Engine) -> None:
    model = tiny_llama()
    model.lm_head.weight.requires_grad_(False)
    before = snapshot(model)
    parameters = list(model.parameters())
    prepared = engine.prepare(model, random_direction(model), "mean", mixed_examples())
    for example in mixed_examples():
        prepared.score([example])
        assert same_weights(model, before)
    assert all(one is two for one, two in zip(parameters, model.parameters(), strict=True))
    assert not any("forward" in module.__dict__ for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert model.model.layers[0].mlp.up_proj.weight.requires_grad
    assert not model.lm_head.weight.requires_grad


@pytest.mark.parametrize("engine", ENGINE_LIST, ids=lambda engine: engine.name)
def test_weights_survive_a_fault_in_the_model(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_llama()
    before = snapshot(model)
    prepared = engine.prepare(model, random_direction(model), "mean", mixed_examples())

    def fail(*args: object, **kwargs: object) -> object:
        raise MemoryError

    monkeypatch.setattr(model.model.layers[1].mlp.down_proj, "forward", fail)
    with pytest.raises(MemoryError):
        prepared.score(mixed_examples())
    assert same_weights(model, before)
    assert all(isinstance(parameter, torch.nn.Parameter) for parameter in model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())


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
        [score] = PerExample().prepare(model, direction, "mean", []).score([example])
        gradient = loss_gradient(model, direction, example)
        raised = unsafety_after(model, gradient, eta, prompts)
        lowered = unsafety_after(model, gradient, -eta, prompts)
        expected = 2 * eta * score.fihs * direction.norm
        assert raised - lowered == pytest.approx(expected, rel=1e-2)
