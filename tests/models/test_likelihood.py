from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import PreTrainedModel

from gradshield.data.tokenization import TokenizedExample
from gradshield.models import likelihood
from gradshield.models.layers import block_weights
from gradshield.models.likelihood import first_response_logits, response_token_losses
from gradshield.models.prompts import prompt_response_example, prompt_token_ids
from gradshield.models.shared_prefix import prefix_options
from tests.tiny_architectures import tiny_architecture
from tests.tiny_models import (
    OneLayerModel,
    chat_example,
    chat_tokenizer,
    losses,
    mixed_examples,
    tiny_gpt2,
    tiny_llama,
)


@torch.no_grad()
def mean_losses(model: PreTrainedModel, examples: Sequence[TokenizedExample]) -> list[float]:
    return [float(loss.mean()) for loss in response_token_losses(model, examples)]


@pytest.mark.parametrize(
    "model", [tiny_llama(), tiny_llama(tied=True), tiny_gpt2()], ids=["llama", "tied", "gpt2"]
)
def test_equals_the_cross_entropy_over_all_logits(model: PreTrainedModel) -> None:
    assert mean_losses(model, mixed_examples()) == pytest.approx(
        losses(mixed_examples(), model), rel=1e-5
    )


def test_gives_one_loss_a_response_token_in_their_order() -> None:
    model = tiny_llama()
    # Two assistant turns: the response tokens are at 2, 3 and 6.
    ids = (9, 40, 41, 42, 43, 44, 45, 46)
    mask = (False, False, True, True, False, False, True, False)
    example = TokenizedExample(0, ids, mask, truncated=False)
    [found] = response_token_losses(model, [example])
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    expected = [-functional.log_softmax(logits[place - 1], -1)[ids[place]] for place in (2, 3, 6)]
    assert found.tolist() == pytest.approx(torch.stack(expected).tolist(), rel=1e-5)
    assert found.dtype == torch.float32


def test_the_end_of_turn_token_counts_though_padding_is_the_same_token() -> None:
    tokenizer = chat_tokenizer()
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    short, long = chat_example(0, "Hi", "Hello"), chat_example(1, "Hi", "Hello Hello Hello Hello")
    assert short.input_ids[-1] == tokenizer.eos_token_id
    model = tiny_llama()
    together = response_token_losses(model, [short, long])
    assert [len(loss) for loss in together] == [short.response_tokens, long.response_tokens]
    [alone] = response_token_losses(model, [short])
    assert together[0].tolist() == pytest.approx(alone.tolist(), rel=1e-5)


def test_token_zero_is_a_token_like_any_other() -> None:
    # The batch is filled up with zeros, which must not be taken for text nor the reverse.
    model = tiny_llama()
    zeros = TokenizedExample(0, (9, 0, 0, 0), (False, True, True, True), truncated=False)
    [together, _] = response_token_losses(model, [zeros, mixed_examples()[3]])
    assert float(together.detach().mean()) == pytest.approx(losses([zeros], model)[0], rel=1e-5)


def test_a_model_outside_transformers_works_if_it_has_a_base_and_a_head() -> None:
    torch.manual_seed(0)
    model = OneLayerModel(torch.randn(5, 3), torch.randn(5, 3))
    examples = [
        TokenizedExample(0, (0, 1, 2), (False, True, True), truncated=False),
        TokenizedExample(1, (3, 4, 4, 0, 1), (False, False, True, False, True), truncated=False),
    ]
    assert mean_losses(model, examples) == pytest.approx(losses(examples, model), rel=1e-5)


def test_logits_are_taken_at_response_tokens_alone_and_a_few_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_llama()
    expected = mean_losses(model, mixed_examples())
    monkeypatch.setattr(likelihood, "MOST_LOGITS", 16 * model.config.vocab_size)
    sizes: list[int] = []
    model.lm_head.register_forward_hook(
        lambda _, inputs, logits: sizes.append(logits[..., 0].numel())
    )
    assert mean_losses(model, mixed_examples()) == pytest.approx(expected, rel=1e-5)
    assert max(sizes) == 16
    assert sum(sizes) == sum(example.response_tokens for example in mixed_examples())


def test_what_a_model_does_to_its_logits_counts() -> None:
    model = tiny_architecture("gemma2")
    assert model.config.final_logit_softcapping
    assert mean_losses(model, mixed_examples()) == pytest.approx(
        losses(mixed_examples(), model), rel=1e-5
    )


def test_losses_can_be_differentiated() -> None:
    model = tiny_llama()
    sum(loss.sum() for loss in response_token_losses(model, mixed_examples())).backward()
    gradient = model.model.layers[0].self_attn.q_proj.weight.grad
    assert gradient is not None
    assert float(gradient.abs().sum()) > 0


def test_first_response_logits_are_those_after_the_generation_prompt() -> None:
    model, tokenizer = tiny_llama(), chat_tokenizer()
    prompts = ["Hi", "Name a river, or two, or three."]
    found = first_response_logits(model, tokenizer, prompts)
    for prompt, logits in zip(prompts, found, strict=True):
        text = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
        ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
        assert prompt_token_ids(tokenizer, prompt) == ids[0].tolist()
        torch.testing.assert_close(logits, model(ids).logits[0, -1])


def shared_prefix_examples() -> list[TokenizedExample]:
    """Nine shared tokens, the last of which predicts the first response token of one row."""
    shared = tuple(range(40, 49))
    return [
        prompt_response_example(shared, (50, 51, 52), 0),
        prompt_response_example((*shared, 60), (61,), 1),
        prompt_response_example((*shared, 60, 61, 62), (63, 64, 65, 66), 2),
    ]


@pytest.mark.parametrize(
    "model", [tiny_llama(), tiny_llama(tied=True), tiny_gpt2()], ids=["llama", "tied", "gpt2"]
)
def test_a_prefix_that_is_computed_once_changes_neither_losses_nor_gradients(
    model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = shared_prefix_examples()
    weights = [weight.tensor for weight in block_weights(model).values()]
    widths: list[int] = []
    forward = model.base_model.forward

    def counted(*args: Any, **options: Any) -> Any:
        widths.append((args[0] if args else options["input_ids"]).shape[1])
        return forward(*args, **options)

    monkeypatch.setattr(model.base_model, "forward", counted)
    together = response_token_losses(model, examples)
    # The ninth token predicts a response token, so eight are shared; sixteen are the longest row.
    assert widths == [8, 8]
    gradients = torch.autograd.grad(torch.stack([one.mean() for one in together]).sum(), weights)
    alone = [response_token_losses(model, [example])[0] for example in examples]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    expected = torch.autograd.grad(torch.stack([one.mean() for one in alone]).sum(), weights)
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_rows_with_little_in_common_are_computed_whole() -> None:
    model = tiny_llama()
    examples = [prompt_response_example((40, 41, 42, 43, last), (50, 51)) for last in (44, 45)]
    assert prefix_options(model, torch.tensor([[40, 41, 42, 43]]), 2) == {}
    assert mean_losses(model, examples) == pytest.approx(losses(examples, model), rel=1e-5)


def test_a_model_without_key_value_layers_computes_the_prefix_with_every_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_llama()
    # A window of attention: its cache forgets the prefix.
    monkeypatch.setattr(model.config, "layer_types", ["sliding_attention"] * 2, raising=False)
    monkeypatch.setattr(model.config, "sliding_window", 4, raising=False)
    examples = shared_prefix_examples()
    assert prefix_options(model, torch.tensor([[40] * 8]), 3) == {}
    assert mean_losses(model, examples) == pytest.approx(losses(examples, model), rel=1e-5)
