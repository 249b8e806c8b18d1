"""LESS turned against the rows that it would choose: influence towards harmful answers.

Xia et al. 2024, "LESS: Selecting Influential Data for Targeted Instruction Tuning", arXiv
2402.04333. A LoRA adapter is warmed up on a small share of the rows. After each epoch the influence
of a row is the cosine of the step that Adam would take on it with the plain gradient of the
target rows; epochs are weighted by their learning rate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from gradshield.data.tokenization import TokenizedExample
from gradshield.filters.adapter_warm_up import (
    Checkpoint,
    adam_step,
    attention_adapter,
    gradient_at,
    warm_up,
)
from gradshield.filters.base import Material, Need, Row, Scores, top_share
from gradshield.filters.random_projection import RademacherProjection
from gradshield.finetuning.supervised import LoraSettings, TrainingSettings
from gradshield.threshold.rule import FloatArray

WARM_UP_SHARE = 0.05
SELECTED_SHARE = 0.05
"""Shares of the rows that the paper trains on before it scores, and that it selects."""
LORA = LoraSettings(rank=128, alpha=512)
TRAINING = TrainingSettings(
    learning_rate=2e-5, epochs=4, batch_size=32, micro_batch_size=4, warmup_steps=0
)
"""Of the released code, on the attention matrices, but for two things.

It lets the rate rise over 3 % of the steps, which is less than one step for up to 5000 rows, and
drops a tenth of the adapter's inputs at random; both are left out here.
"""
PROJECTED_DIMENSIONS = 8192
"""Of the released code, which stores all gradients."""

Project = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Less:
    """Influence towards the harmful rows of the material; they are the only sub-task.

    The score is linear in the target rows' unit gradients, so their mean is all that is kept, and
    no gradient is stored. The paper's random projection is then of no use: it only adds noise to
    the same inner products, and takes longer than the gradients. It can be asked for.

    Attributes:
        against_refused: Subtract the influence towards the refused rows.
        dimensions: Numbers that gradients are projected to; None, or no fewer than the adapter
            has: they are taken whole.
        warm_up_share: Share of the rows, at random, that the adapter is trained on; at least one
            batch of them.
        lora: Size of the adapter on the attention matrices.
        training: How it is trained; its own `lora` and `seed` are not looked at.
    """

    against_refused: bool = False
    dimensions: int | None = None
    warm_up_share: float = WARM_UP_SHARE
    lora: LoraSettings = LORA
    training: TrainingSettings = TRAINING
    name: str = "less"
    by_row: bool = False

    @property
    def needs(self) -> frozenset[Need]:
        """Compliant answers, and refusals if they are asked for."""
        refusals = {Need.REFUSALS} if self.against_refused else set()
        return frozenset({Need.HARMFUL_ANSWERS} | refusals)

    def score(self, rows: Sequence[Row], material: Material) -> Scores:
        """Mean over epochs of a mean of cosines, weighted by the learning rate; see `Filter`.

        In [-1, 1]; with `against_refused` in [-2, 2]. Positive: training on the row lowers the
        loss of the harmful answers. The highest twentieth is removed, the share that LESS selects.
        """
        if not material.harmful or (self.against_refused and not material.refused):
            raise ValueError(
                "LESS needs target rows: Material(harmful=..., and refused=... if "
                "against_refused is set)."
            )
        model = material.loaded.model
        settings = self.training.model_copy(update={"seed": material.seed})
        chosen = self._warm_up_rows(rows, material.seed)
        values, rates = np.zeros(len(rows)), 0.0
        with attention_adapter(model, self.lora, material.seed) as parameters:
            project = self._projection(sum(one.numel() for one in parameters), material.seed)
            for checkpoint in warm_up(model, parameters, chosen, settings):
                values += checkpoint.rate * self._influences(rows, material, checkpoint, project)
                rates += checkpoint.rate
        values /= rates
        return Scores(values, top_share(SELECTED_SHARE), trainings=1)

    def _warm_up_rows(self, rows: Sequence[Row], seed: int) -> list[TokenizedExample]:
        count = max(round(self.warm_up_share * len(rows)), self.training.batch_size)
        order = np.random.default_rng(seed).permutation(len(rows))
        return [rows[place].example for place in order[:count]]

    def _projection(self, numbers: int, seed: int) -> Project:
        if self.dimensions is None or self.dimensions >= numbers:
            return lambda gradient: gradient
        return RademacherProjection(self.dimensions, seed)

    def _influences(
        self, rows: Sequence[Row], material: Material, checkpoint: Checkpoint, project: Project
    ) -> FloatArray:
        """Influence of each row at one checkpoint, [rows]."""
        model = material.loaded.model
        target = _mean_unit_gradient(material.harmful, material, checkpoint, project)
        if self.against_refused:
            target -= _mean_unit_gradient(material.refused, material, checkpoint, project)
        values = np.empty(len(rows))
        with material.progress.track("Influence", len(rows), "rows") as advance:
            for place, row in enumerate(rows):
                step = adam_step(checkpoint, gradient_at(model, checkpoint, row.example))
                values[place] = float(normalize(project(step), dim=0) @ target)
                advance(1)
        return values


def _mean_unit_gradient(
    rows: Sequence[Row], material: Material, checkpoint: Checkpoint, project: Project
) -> Tensor:
    """Mean of plain gradients that are each made a unit long after the projection."""
    model = material.loaded.model
    total = torch.zeros(())
    with material.progress.track("Target gradients", len(rows), "rows") as advance:
        for row in rows:
            gradient = gradient_at(model, checkpoint, row.example)
            total = normalize(project(gradient), dim=0) + total.to(gradient.device)
            advance(1)
    return total / len(rows)
