"""SQSD: a row's step against two trained directions, danger and safety (arXiv 2605.04572).

A LoRA adapter is trained twice: on harmful answers, and to prefer refusals to them. The change of
the weights that each training leaves, B A at every layer, is a task vector. A row is as risky as
one step on it goes along the first and against the second, every layer for itself and whatever
the length of its step:

    score = sum over layers of < u(step), u(V_danger) - u(V_safety) >,    u(X) = X / |X|.

Without the unit lengths long steps, which short answers cause, would decide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid
from transformers import PreTrainedModel

from gradshield.data import TokenizedExample
from gradshield.filters.base import Material, Need, Row, Scores, top_share
from gradshield.finetuning.adapter import (
    Factors,
    copied,
    fresh_adapter,
    inner_product_of_changes,
    write_back,
)
from gradshield.finetuning.descent import add_token_gradients, descend, step_batches
from gradshield.finetuning.supervised import LoraSettings, TrainingSettings
from gradshield.models.likelihood import response_token_losses
from gradshield.threshold.rule import FloatArray

REMOVED_SHARE = 0.2
LORA = LoraSettings(rank=8, alpha=16)
"""As in the released code."""
TRAINING = TrainingSettings(learning_rate=2e-4, epochs=3, batch_size=8, warmup_steps=0)
"""Ours: the released directions come from thousands of steps at 5e-6, ours from some tens."""
PREFERENCE_STRENGTH = 0.1
"""Beta of DPO, as Rafailov et al. (arXiv 2305.18290) have it."""
TINY = float(torch.finfo(torch.float32).tiny)
"""Least length that is divided by: a change of zero stays zero."""

Adapter = Sequence[tuple[nn.Parameter, nn.Parameter]]
Batch = Sequence[TokenizedExample]


@dataclass(frozen=True)
class TaskVectors:
    """Scores a row by where a single step of training on it goes.

    The step is one of gradient descent on the adapter, and what counts is the change of the weights
    that it makes, to first order: -(G_B A + B G_A) with G the gradients. All starts, those of the
    trainings and that of the step, are the same adapter, so A is the same and the three changes can
    be compared. There B = 0, so the step is one of B alone.

    The authors find that steps from the aligned model tell less than steps from further on. Their
    code takes two: one from an adapter that was trained on part of the rows, held against danger,
    and one from the safety adapter, held against safety. With `warm_start` the step is taken after
    a third training, on all the rows that are scored, and held against both.

    Attributes:
        training: Of all adapters; its own `lora` and `seed` are not looked at.
        lora: Size of the adapter, and its layers.
        preference_strength: Beta of DPO.
        warm_start: Take the step from an adapter that was trained on the rows.
    """

    training: TrainingSettings = TRAINING
    lora: LoraSettings = LORA
    preference_strength: float = PREFERENCE_STRENGTH
    warm_start: bool = False
    name: str = "sqsd"
    needs: frozenset[Need] = frozenset({Need.HARMFUL_ANSWERS, Need.REFUSALS})
    by_row: bool = True

    def score(self, rows: Sequence[Row], material: Material) -> Scores:
        """Between -2 and 2 times the number of layers; positive: towards danger. See `Filter`.

        The highest fifth is removed: the paper ranks rows and draws no line.
        """
        if not material.harmful or len(material.refused) != len(material.harmful):
            raise ValueError(
                "SQSD needs harmful prompts, each answered and refused: "
                "Material(harmful=..., refused=...)."
            )
        examples = [row.example for row in rows]
        with fresh_adapter(material.loaded.model, self.lora, material.seed) as adapter:
            directions = self._directions(adapter, material)
            if self.warm_start:
                self._trained_on(adapter, examples, material)
            values = _scores(adapter, directions, examples, material)
        trainings = 3 if self.warm_start else 2
        return Scores(values, top_share(REMOVED_SHARE), trainings)

    def _directions(self, adapter: Adapter, material: Material) -> list[Factors]:
        """By layer, u(V_danger) - u(V_safety); the adapter is left as it was."""
        start = copied(adapter)
        danger = self._trained_on(adapter, [row.example for row in material.harmful], material)
        write_back(adapter, start)
        safety = self._trained_to_refuse(adapter, material)
        write_back(adapter, start)
        return [*map(difference_of_units, danger, safety)]

    def _trained_on(self, adapter: Adapter, examples: Batch, material: Material) -> list[Factors]:
        """Supervised training; the adapter is left trained, and copies of its factors returned."""
        model = material.loaded.model
        return self._trained(
            adapter, examples, material, lambda batch: add_token_gradients(model, batch)
        )

    def _trained_to_refuse(self, adapter: Adapter, material: Material) -> list[Factors]:
        """DPO with refusals chosen and harmful answers rejected; see `_trained_on`.

        The reference is the model before the training: the adapter changes nothing at first.
        """
        model, beta = material.loaded.model, self.preference_strength
        pairs = [
            (refused.example, harmful.example)
            for refused, harmful in zip(material.refused, material.harmful, strict=True)
        ]
        with torch.no_grad():
            reference = [float(preference(model, *pair)) for pair in pairs]

        def add_gradients(batch: Batch) -> None:
            for example in batch:
                margin = preference(model, *pairs[example.row]) - reference[example.row]
                loss: Tensor = -logsigmoid(beta * margin) / len(batch)
                torch.autograd.backward(loss)

        # Pairs are found by the place of their refusal.
        chosen = [replace(pair[0], row=place) for place, pair in enumerate(pairs)]
        return self._trained(adapter, chosen, material, add_gradients)

    def _trained(
        self,
        adapter: Adapter,
        examples: Batch,
        material: Material,
        add_gradients: Callable[[Batch], None],
    ) -> list[Factors]:
        settings = self.training.model_copy(update={"seed": material.seed})
        batches = step_batches(examples, settings)
        parameters = [parameter for pair in adapter for parameter in pair]
        with material.progress.track("Task vector", len(batches), "steps") as advance:
            descend(
                parameters,
                settings,
                len(batches),
                lambda step: add_gradients(batches[step]),
                advance,
            )
        return copied(adapter)


def preference(
    model: PreTrainedModel, chosen: TokenizedExample, rejected: TokenizedExample
) -> Tensor:
    """Log-likelihood of the chosen response minus that of the rejected one, in nats."""
    chosen_losses, rejected_losses = response_token_losses(model, [chosen, rejected])
    return rejected_losses.sum() - chosen_losses.sum()


def _scores(
    adapter: Adapter, directions: Sequence[Factors], examples: Batch, material: Material
) -> FloatArray:
    """The score of every row, [rows]."""
    values = np.empty(len(examples))
    with material.progress.track("Single steps", len(examples), "rows") as advance:
        for place, example in enumerate(examples):
            step = single_step(material.loaded.model, adapter, example)
            values[place] = score_of_step(step, directions)
            advance(1)
    return values


def single_step(
    model: PreTrainedModel, adapter: Adapter, example: TokenizedExample
) -> list[Factors]:
    """By layer, the change of B A after a small step of gradient descent, per unit of its rate.

    Of the mean loss, to first order: -(G_B A + B G_A), as factors of twice the adapter's rank.
    """
    loss = response_token_losses(model, [example])[0].mean()
    parameters = [parameter for pair in adapter for parameter in pair]
    gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
    of_a, of_b = gradients[0::2], gradients[1::2]
    return [
        (torch.cat([a.detach(), grad_a]), -torch.cat([grad_b, b.detach()], dim=1))
        for (a, b), grad_a, grad_b in zip(adapter, of_a, of_b, strict=True)
    ]


def length_of_change(factors: Factors) -> float:
    """Frobenius norm of B A."""
    return math.sqrt(inner_product_of_changes(factors, factors))


def difference_of_units(danger: Factors, safety: Factors) -> Factors:
    """u(V_danger) - u(V_safety) of a layer, as factors; a change of zero counts as zero."""
    one, other = (b / max(length_of_change((a, b)), TINY) for a, b in (danger, safety))
    return torch.cat([danger[0], safety[0]]), torch.cat([one, -other], dim=1)


def score_of_step(step: Sequence[Factors], directions: Sequence[Factors]) -> float:
    """Sum over layers of < u(step), direction >; a layer that the step does not move adds zero."""
    return sum(
        float(inner_product_of_changes(change, direction)) / max(length_of_change(change), TINY)
        for change, direction in zip(step, directions, strict=True)
    )
