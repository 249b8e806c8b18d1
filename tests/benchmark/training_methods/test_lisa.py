from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from gradshield.benchmark.training_methods.lisa import Lisa, _Pull
from gradshield.errors import UserError
from gradshield.filters.base import Material
from gradshield.finetuning.supervised import LoraSettings, TrainingSettings, finetune
from gradshield.models.layers import block_linear_layers
from gradshield.models.restored import weights_restored
from tests.filters.tiny_rows import tiny_material
from tests.tiny_models import losses, mixed_examples, same_weights, snapshot, tiny_loaded

# Seven rows in batches of four, twice: the last batch is a short one, and gradients are cut.
TRAINING = TrainingSettings(
    learning_rate=1e-2, epochs=2, batch_size=4, micro_batch_size=2, warmup_steps=2
)
LORA = TRAINING.model_copy(update={"lora": LoraSettings(rank=3, alpha=6)})
PARTLY = TRAINING.model_copy(update={"lora": LoraSettings(rank=3, alpha=6, modules="mlp")})
WITHOUT_SAFETY = Lisa(rho=0.0, alignment_steps=0)


@pytest.mark.parametrize("training", [TRAINING, LORA, PARTLY], ids=["whole", "lora", "partly"])
def test_without_alignment_and_pull_it_is_plain_finetuning(training: TrainingSettings) -> None:
    loaded, reference = tiny_loaded(), tiny_loaded()
    before = snapshot(loaded.model)
    WITHOUT_SAFETY.finetune(loaded, mixed_examples(), training, tiny_material())
    finetune(reference.model, reference.tokenizer, mixed_examples(), training)
    assert not loaded.model.training
    after, wanted = loaded.model.state_dict(), reference.model.state_dict()
    assert after.keys() == wanted.keys()
    modules = None if training.lora is None else training.lora.modules
    linear = {f"{name}.weight" for name in block_linear_layers(loaded.model, modules)}
    for name, tensor in after.items():
        torch.testing.assert_close(tensor, wanted[name], rtol=1e-3, atol=2e-5, msg=name)
        assert torch.equal(tensor, before[name]) == (name not in linear), name


def test_states_take_turns_and_no_row_of_the_task_is_lost() -> None:
    examples = mixed_examples()
    material = tiny_material()
    safe = [row.example for row in (*material.refused, *material.harmless)]
    training = TRAINING.model_copy(update={"batch_size": 2, "epochs": 3})
    plan = Lisa(alignment_steps=2, task_steps=4).plan(examples, safe, training)
    # 21 rows of the task make 11 batches: four, four and three of them, after two safe ones each.
    of_safe = [all(example in safe for example in batch) for batch, _ in plan]
    assert of_safe == [*[True] * 2, *[False] * 4] * 2 + [True] * 2 + [False] * 3
    changes = [step for step, (_, changed) in enumerate(plan) if changed]
    assert changes == [0, 2, 6, 8, 12, 14]
    task = [batch for (batch, _), safely in zip(plan, of_safe, strict=True) if not safely]
    rows = [example.row for batch in task for example in batch]
    assert sorted(rows) == sorted([*range(7)] * 3)
    seen = [
        example
        for (batch, _), safely in zip(plan, of_safe, strict=True)
        if safely
        for example in batch
    ]
    assert {example.input_ids for example in seen} == {example.input_ids for example in safe}


def test_the_pull_is_the_gradient_of_the_proximal_term() -> None:
    torch.manual_seed(0)
    parameters = [nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(4))]
    pull = _Pull(parameters, rho=0.7)
    pull.anchor()
    anchors = [parameter.detach().clone() for parameter in parameters]
    with torch.no_grad():
        for parameter in parameters:
            parameter += torch.randn_like(parameter)
    term = sum((p - a).square().sum() for p, a in zip(parameters, anchors, strict=True)) * 0.7 / 2
    assert isinstance(term, torch.Tensor)
    expected = torch.autograd.grad(term, parameters)
    parameters[0].grad = torch.ones(3, 2)
    pull.add_gradients()
    torch.testing.assert_close(parameters[0].grad, 1 + expected[0])
    torch.testing.assert_close(parameters[1].grad, expected[1])


def test_the_pull_is_towards_where_the_last_state_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """At every change of state the weights are anchored, and from then on pulled back there."""
    events: list[str] = []
    anchor, pull = _Pull.anchor, _Pull.add_gradients

    def anchored(self: _Pull) -> None:
        anchor(self)
        events.append("anchor")

    def pulled(self: _Pull) -> None:
        away = any(
            not torch.equal(p, a) for p, a in zip(self.parameters, self.anchored, strict=True)
        )
        pull(self)
        events.append("away" if away else "at the anchor")

    monkeypatch.setattr(_Pull, "anchor", anchored)
    monkeypatch.setattr(_Pull, "add_gradients", pulled)
    training = LORA.model_copy(update={"warmup_steps": 0})
    chosen = Lisa(alignment_steps=1, task_steps=2, proximal_from=0.0)
    chosen.finetune(tiny_loaded(), mixed_examples(), training, tiny_material())
    # Four batches of the task: twice one safe step and two of the task.
    one_round = ["anchor", "at the anchor", "anchor", "at the anchor", "away"]
    assert events == one_round * 2


def drift(lisa: Lisa, training: TrainingSettings) -> float:
    """Length of the change of the weights."""
    loaded = tiny_loaded()
    before = snapshot(loaded.model)
    lisa.finetune(loaded, mixed_examples(), training, tiny_material())
    after = loaded.model.state_dict()
    return sum(float((after[name] - before[name]).square().sum()) for name in before) ** 0.5


def test_a_stronger_pull_keeps_the_weights_closer() -> None:
    training = TRAINING.model_copy(update={"epochs": 6, "warmup_steps": 0})
    free, pulled, held = (
        drift(Lisa(rho=rho, alignment_steps=1, proximal_from=0.0), training)
        for rho in (0.0, 1.0, 100.0)
    )
    assert held < pulled < free
    late = drift(Lisa(rho=100.0, alignment_steps=1, proximal_from=1.0), training)
    assert late == pytest.approx(free)


def test_it_keeps_refusals_that_plain_finetuning_loses() -> None:
    training = LORA.model_copy(update={"epochs": 10, "warmup_steps": 0})
    material = tiny_material()
    harmful = [row.example for row in material.harmful]
    refused = [row.example for row in material.refused]

    def preference_to_refuse(material: Material) -> float:
        model = material.loaded.model
        return sum(losses(harmful, model)) - sum(losses(refused, model))

    model, before = material.loaded.model, snapshot(material.loaded.model)
    found = {}
    for name, lisa in {"plain": WITHOUT_SAFETY, "lisa": Lisa(task_steps=2)}.items():
        with weights_restored(model):
            lisa.finetune(material.loaded, harmful, training, material)
            found[name] = preference_to_refuse(material)
    assert found["lisa"] > found["plain"] + 1
    assert same_weights(model, before)


def test_a_training_that_diverges_says_so_and_merges_nothing() -> None:
    loaded = tiny_loaded()
    with torch.no_grad():
        loaded.model.lm_head.weight[0, 0] = float("nan")
    before = snapshot(loaded.model)
    with pytest.raises(UserError, match="not finite"):
        Lisa().finetune(loaded, mixed_examples(), LORA, tiny_material())
    after = loaded.model.state_dict()
    assert all(torch.equal(after[name].isnan(), before[name].isnan()) for name in before)
    assert not loaded.model.training


@pytest.mark.parametrize("missing", ["refused", "harmless"])
def test_safe_rows_are_needed(missing: str) -> None:
    material = replace(tiny_material(), **{missing: ()})
    with pytest.raises(ValueError, match="safe rows"):
        Lisa().finetune(material.loaded, mixed_examples(), LORA, material)
