from __future__ import annotations

import sys

import pytest
import torch
from pydantic import ValidationError

from gradshield.data.tokenization import TokenizedExample
from gradshield.errors import UserError
from gradshield.finetuning.supervised import (
    LoraSettings,
    TrainingSettings,
    finetune,
    training_order,
)
from gradshield.models.layers import block_linear_layers
from tests.tiny_models import (
    chat_example,
    chat_tokenizer,
    losses,
    same_weights,
    snapshot,
    tiny_llama,
)

EXAMPLES = [
    chat_example(row, prompt, response)
    for row, (prompt, response) in enumerate(
        [("Hi", "Hello"), ("Name a river.", "The Loire."), ("Yes?", "No."), ("Total?", "42 EUR")]
    )
]
WHOLE = TrainingSettings(
    learning_rate=1e-2, epochs=3, batch_size=4, micro_batch_size=2, warmup_steps=0
)


def of_length(row: int, length: int) -> TokenizedExample:
    return TokenizedExample(row, (5,) * length, (False,) + (True,) * (length - 1), False)


def test_each_epoch_holds_every_example_once_in_a_new_order() -> None:
    examples = [of_length(row, 3) for row in range(40)]
    settings = TrainingSettings(learning_rate=1, epochs=3, batch_size=8)
    rows = [example.row for example in training_order(examples, settings)]
    epochs = [rows[start : start + 40] for start in (0, 40, 80)]
    assert all(sorted(epoch) == list(range(40)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert epochs[0] != list(range(40))


def test_the_order_depends_on_the_seed_alone() -> None:
    examples = [of_length(row, 3) for row in range(40)]

    def order(seed: int) -> list[TokenizedExample]:
        return training_order(examples, TrainingSettings(learning_rate=1, seed=seed))

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_batches_mix_kinds_and_sort_by_length_inside() -> None:
    # The first forty rows are short, the last forty long, as parts joined one after another are.
    examples = [of_length(row, 3 if row < 40 else 9) for row in range(80)]
    ordered = training_order(examples, TrainingSettings(learning_rate=1, batch_size=16))
    for start in range(0, 80, 16):
        lengths = [len(example.input_ids) for example in ordered[start : start + 16]]
        assert lengths == sorted(lengths)
        assert set(lengths) == {3, 9}


def test_a_batch_must_be_made_of_whole_micro_batches() -> None:
    with pytest.raises(ValidationError, match="batch_size 6 is no multiple of micro_batch_size 4"):
        TrainingSettings(learning_rate=1, batch_size=6)


def test_training_whole_layers_changes_those_alone_and_lowers_the_loss() -> None:
    model = tiny_llama()
    before, loss_before = snapshot(model), losses(EXAMPLES, model)
    trained = finetune(model, chat_tokenizer(), EXAMPLES, WHOLE)
    assert trained is model
    assert sum(losses(EXAMPLES, model)) < 0.9 * sum(loss_before)
    linear = {f"{name}.weight" for name in block_linear_layers(model)}
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) == (name not in linear), name
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_lora_adapter_is_trained_and_merged() -> None:
    model = tiny_llama()
    before, loss_before = snapshot(model), losses(EXAMPLES, model)
    lora = LoraSettings(rank=2, alpha=4)
    trained = finetune(model, chat_tokenizer(), EXAMPLES, WHOLE.model_copy(update={"lora": lora}))
    after = trained.state_dict()
    assert after.keys() == before.keys()
    assert sum(losses(EXAMPLES, trained)) < sum(loss_before)
    assert losses(EXAMPLES, model) == losses(EXAMPLES, trained)
    linear = {f"{name}.weight" for name in block_linear_layers(trained)}
    for name, tensor in after.items():
        assert torch.equal(tensor, before[name]) == (name not in linear), name
        if name in linear:
            assert int(torch.linalg.matrix_rank(tensor - before[name], rtol=1e-3)) <= 2


def test_only_response_tokens_are_trained_on() -> None:
    # The same response after the same tokens; what the prompts' own tokens predict differs.
    model = tiny_llama()
    step = TrainingSettings(learning_rate=1e-3, batch_size=1, micro_batch_size=1, warmup_steps=0)
    whole = EXAMPLES[1]
    only_last = TokenizedExample(
        1, whole.input_ids, (False,) * (len(whole.input_ids) - 1) + (True,), truncated=False
    )
    finetune(model, chat_tokenizer(), [only_last], step)
    # The very first Adam step is lr x sign(gradient): compare signs with autograd on that token.
    reference = tiny_llama()
    logits = reference(torch.tensor([whole.input_ids])).logits[0, -2]
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(whole.input_ids[-1]))
    weight = reference.model.layers[0].mlp.up_proj.weight
    [gradient] = torch.autograd.grad(loss, [weight])
    change = model.model.layers[0].mlp.up_proj.weight - weight
    large = gradient.abs() > gradient.abs().median()
    assert torch.equal(change[large].sign(), -gradient[large].sign())


def test_the_same_seed_gives_the_same_weights() -> None:
    one = finetune(tiny_llama(), chat_tokenizer(), EXAMPLES, WHOLE)
    other = finetune(tiny_llama(), chat_tokenizer(), EXAMPLES, WHOLE)
    assert same_weights(one, snapshot(other))


def test_a_missing_trl_is_a_user_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(UserError, match=r"pip install 'gradshield\[align\]'"):
        finetune(tiny_llama(), chat_tokenizer(), EXAMPLES, WHOLE)
