from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from transformers import TrainerCallback

from gradshield.data.tokenization import TokenizedExample
from gradshield.errors import UserError
from gradshield.finetuning.checkpoints import WHOLE as MARK
from gradshield.finetuning.checkpoints import last_checkpoint
from gradshield.finetuning.supervised import (
    LoraSettings,
    TrainingSettings,
    finetune,
    train,
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


def test_an_adapter_on_chosen_modules_leaves_the_others() -> None:
    model = tiny_llama()
    before = snapshot(model)
    lora = LoraSettings(rank=2, alpha=4, modules=r"layers\.1\.mlp\.down")
    after = finetune(
        model, chat_tokenizer(), EXAMPLES, WHOLE.model_copy(update={"lora": lora})
    ).state_dict()
    changed = [name for name, tensor in after.items() if not torch.equal(tensor, before[name])]
    assert changed == ["model.layers.1.mlp.down_proj.weight"]


def test_modules_that_no_layer_has_are_named() -> None:
    settings = WHOLE.model_copy(update={"lora": LoraSettings(modules="no_such_layer")})
    with pytest.raises(UserError, match="no_such_layer"):
        finetune(tiny_llama(), chat_tokenizer(), EXAMPLES, settings)


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


class StopAt(TrainerCallback):
    """An interrupt in the middle of a training, as Ctrl-C would make it."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise KeyboardInterrupt


class Recorded:
    """A progress that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.total, self.done = 0, 0

    def say(self, line: str) -> None:
        self.lines.append(line)

    def warn(self, line: str) -> None:
        raise AssertionError(line)

    @contextmanager
    def track(self, label: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        assert (label, unit) == ("Finetuning", "steps")
        self.total = total

        def advance(count: int) -> None:
            self.done += count

        yield advance


# Five steps: two rows a step, two and a half steps an epoch.
RESUMED = TrainingSettings(
    learning_rate=1e-2, epochs=2, batch_size=2, micro_batch_size=1, warmup_steps=2, save_every=2
)
FIVE = [*EXAMPLES, chat_example(4, "Spell cat", "c, a, t")]


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=2, alpha=4)], ids=["whole", "lora"])
def test_an_interrupted_training_ends_with_the_same_weights(
    tmp_path: Path, lora: LoraSettings | None
) -> None:
    settings = RESUMED.model_copy(update={"lora": lora})
    never = train(tiny_llama(), chat_tokenizer(), FIVE, settings)
    with pytest.raises(KeyboardInterrupt):
        train(
            tiny_llama(),
            chat_tokenizer(),
            FIVE,
            settings,
            callbacks=[StopAt(3)],
            checkpoints=tmp_path,
        )
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-2"
    progress = Recorded()
    resumed = train(
        tiny_llama(), chat_tokenizer(), FIVE, settings, progress=progress, checkpoints=tmp_path
    )
    assert (never.first_step, resumed.first_step) == (0, 2)
    assert (progress.done, progress.total) == (5, 5)
    assert resumed.losses == never.losses
    assert len(never.losses) == 5
    assert same_weights(resumed.model, snapshot(never.model))


def test_only_the_last_checkpoint_is_kept_and_half_written_ones_are_passed_over(
    tmp_path: Path,
) -> None:
    assert last_checkpoint(tmp_path) is None
    train(tiny_llama(), chat_tokenizer(), FIVE, RESUMED, checkpoints=tmp_path)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-5"]
    for name, state in (("checkpoint-12", None), ("checkpoint-13", '{"global_step": 13}')):
        (tmp_path / name).mkdir()
        if state is not None:  # its name can be on the disk before the rest is
            (tmp_path / name / "trainer_state.json").write_text(state)
    (tmp_path / "checkpoint-best").mkdir()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-5"
    state = json.loads((tmp_path / "checkpoint-5" / "trainer_state.json").read_text())
    assert state["global_step"] == 5


def test_a_checkpoint_counts_once_it_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(path: Path) -> None:
        if path.name == "checkpoint-4":
            raise KeyboardInterrupt

    monkeypatch.setattr("gradshield.finetuning.checkpoints.sync", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_llama(), chat_tokenizer(), FIVE, RESUMED, checkpoints=tmp_path)
    assert (tmp_path / "checkpoint-4" / "trainer_state.json").is_file()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-2"
    assert (tmp_path / "checkpoint-2" / MARK).is_file()


def test_a_training_that_was_done_but_for_its_result_trains_no_step_more(tmp_path: Path) -> None:
    done = train(tiny_llama(), chat_tokenizer(), FIVE, RESUMED, checkpoints=tmp_path)
    again = train(tiny_llama(), chat_tokenizer(), FIVE, RESUMED, checkpoints=tmp_path)
    assert again.first_step == 5
    assert again.losses == done.losses
    assert same_weights(again.model, snapshot(done.model))


def test_only_our_own_progress_is_shown(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets.utils import are_progress_bars_disabled

    module = sys.modules["datasets.utils.tqdm"]
    monkeypatch.setattr(module, "HF_DATASETS_DISABLE_PROGRESS_BARS", None)
    monkeypatch.setattr(module, "_hf_datasets_progress_bars_disabled", False)
    progress = Recorded()
    finetune(tiny_llama(), chat_tokenizer(), FIVE, RESUMED, progress=progress)
    assert not are_progress_bars_disabled()
    assert (progress.done, progress.total) == (5, 5)
    [line] = progress.lines
    assert line.startswith("Mean loss of a response token: ")
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "it/s" not in shown.err
    assert "examples/s" not in shown.err


def test_the_losses_are_those_of_the_steps_before_they_are_taken() -> None:
    settings = RESUMED.model_copy(update={"epochs": 1, "batch_size": 5, "micro_batch_size": 5})
    trained = train(tiny_llama(), chat_tokenizer(), FIVE, settings)
    weights = [example.response_tokens for example in FIVE]
    values = losses(FIVE, tiny_llama())
    mean = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
    assert trained.losses == pytest.approx([mean], rel=1e-5)


def test_a_loss_that_is_no_number_stops_the_training(tmp_path: Path) -> None:
    model = tiny_llama()
    with torch.no_grad():
        model.lm_head.weight[0, 0] = torch.inf
    with pytest.raises(UserError, match="loss of step 1 is not finite: use a lower learning rate"):
        train(model, chat_tokenizer(), FIVE, RESUMED, checkpoints=tmp_path)
    assert last_checkpoint(tmp_path) is None


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=2, alpha=4)], ids=["whole", "lora"])
def test_a_model_in_bfloat16_stays_in_it_and_learns(lora: LoraSettings | None) -> None:
    settings = RESUMED.model_copy(update={"lora": lora, "epochs": 4})
    model = tiny_llama().to(torch.bfloat16)
    before = sum(losses(FIVE, model))
    trained = finetune(model, chat_tokenizer(), FIVE, settings)
    assert {parameter.dtype for parameter in trained.parameters()} == {torch.bfloat16}
    assert sum(losses(FIVE, trained)) < 0.95 * before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("lora", [None, LoraSettings(rank=2, alpha=4)], ids=["whole", "lora"])
def test_training_on_a_gpu_agrees_with_the_cpu(lora: LoraSettings | None) -> None:
    settings = RESUMED.model_copy(update={"lora": lora})
    on_cpu = train(tiny_llama(), chat_tokenizer(), FIVE, settings)
    on_gpu = train(tiny_llama().to(torch.device("cuda")), chat_tokenizer(), FIVE, settings)
    # Adam's first steps go by the sign of a gradient: tiny differences can turn a few of them.
    assert on_gpu.losses == pytest.approx(on_cpu.losses, rel=2e-2)
    half = tiny_llama().to(torch.device("cuda"), torch.bfloat16)
    in_half = train(half, chat_tokenizer(), FIVE, settings)
    assert in_half.losses == pytest.approx(on_cpu.losses, rel=5e-2)
