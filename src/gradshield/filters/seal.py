"""SEAL: bilevel data selection, one learnt scalar a row (Shen et al. 2025, arXiv 2410.07471).

The upper level asks for a low loss on a safe set, the lower one trains the model on the rows,
weighted by a selector. Both are solved in one run, the lower level as a penalty: with weight w on
the safe set, p_i the selector's weights and L_i the loss of row i,

    the model descends    w L_safe + (1 - w) sum_i p_i L_i,
    the selector descends sum_i p_i L_i,

so rows that a model kept safe finds unlikely lose their weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Literal

import torch
from torch import Tensor

from gradshield.data import TokenizedExample
from gradshield.filters.base import Material, Need, Row, Scores, top_share
from gradshield.finetuning.adapter import fresh_adapter
from gradshield.finetuning.descent import add_weighted_gradients, descend, rounds
from gradshield.finetuning.supervised import LoraSettings, TrainingSettings

REMOVED_SHARE = 0.2
"""The released scripts keep the top 80 % of the selector."""
SAFE_WEIGHT = 1.0
"""w in the first epoch, as in the released scripts."""
SAFE_WEIGHT_DECAY = 0.03
"""What w loses from one epoch to the next, as in the released scripts."""
TRAINING = TrainingSettings(learning_rate=2e-4, epochs=3, batch_size=16, warmup_steps=0)
"""Three epochs as in the released scripts.

They take batches of 64 at a rate of 1e-5, for 112,000 rows; some hundred rows make few steps, so
batches are smaller and the rate higher here.
"""
LORA = LoraSettings(rank=16, alpha=16)
"""As in the released scripts; there on two projections of the attention, here on all layers."""
SELECTOR_RATE = 1.0
"""Rate of the selector's plain gradient descent, in which a row moves by rate x p_i x nats.

The released scripts use AdamW at 5e-3. A row is met once an epoch, and Adam divides that one
gradient by its own size: little but its sign would be left.
"""

Activation = Literal["softmax", "batch_softmax", "sigmoid"]
Batch = Sequence[TokenizedExample]


@dataclass(frozen=True)
class Seal:
    """Removes the rows that a selector trained beside a safe set gives least weight.

    Attributes:
        training: Of the model's adapter; its own `lora` and `seed` are not looked at.
        lora: Size of the adapter, and its layers.
        selector_rate: Of the selector's gradient descent.
        activation: What makes weights of scalars: `softmax` over all rows, as released;
            `batch_softmax` over those of the batch; or `sigmoid` of each, the alternative of the
            released code. All begin at one over the size of a batch.
        safe_weight: w in the first epoch.
        safe_weight_decay: What w loses from one epoch to the next.
    """

    training: TrainingSettings = TRAINING
    lora: LoraSettings = LORA
    selector_rate: float = SELECTOR_RATE
    activation: Activation = "softmax"
    safe_weight: float = SAFE_WEIGHT
    safe_weight_decay: float = SAFE_WEIGHT_DECAY
    name: str = "seal"
    needs: frozenset[Need] = frozenset({Need.REFUSALS, Need.HARMLESS_ROWS})
    by_row: bool = False

    def score(self, rows: Sequence[Row], material: Material) -> Scores:
        """Minus the selector's scalar of every row, without unit; see `Filter`.

        The safe set is the refusals and the harmless rows. Of the rows the highest fifth is
        removed, as the paper does.
        """
        if not material.refused or not material.harmless:
            raise ValueError("SEAL needs a safe set: Material(refused=..., harmless=...).")
        safe = [row.example for row in (*material.refused, *material.harmless)]
        selector = self._trained_selector([row.example for row in rows], safe, material)
        values = -selector.double().numpy()
        return Scores(values, top_share(REMOVED_SHARE), trainings=1)

    def _trained_selector(
        self,
        examples: Sequence[TokenizedExample],
        safe: Sequence[TokenizedExample],
        material: Material,
    ) -> Tensor:
        """The scalar of every row after the run, [rows]."""
        model = material.loaded.model
        plan = self._plan(examples, safe, material.seed)
        selector = torch.zeros(len(examples), requires_grad=True)
        optimiser = torch.optim.SGD([selector], lr=self.selector_rate)

        def step(number: int) -> None:
            batch, safe_batch, safe_weight = plan[number]
            even = torch.full((len(safe_batch),), safe_weight / len(safe_batch))
            add_weighted_gradients(model, safe_batch, even)
            shares = self.shares(selector, [example.row for example in batch])
            losses = add_weighted_gradients(model, batch, (1 - safe_weight) * shares.detach())
            optimiser.zero_grad()
            torch.autograd.backward((shares * losses).sum())
            optimiser.step()

        with (
            fresh_adapter(model, self.lora, material.seed) as factors,
            material.progress.track("SEAL", len(plan), "steps") as advance,
        ):
            parameters = [parameter for pair in factors for parameter in pair]
            descend(parameters, self.training, len(plan), step, advance)
        return selector.detach()

    def shares(self, selector: Tensor, batch: Sequence[int]) -> Tensor:
        """Weights p_i of the rows of a batch, given by place, from the scalars of all, [batch]."""
        if self.activation == "batch_softmax":
            return selector[batch].softmax(dim=0)
        if self.activation == "softmax":
            relative = len(selector) * selector.softmax(dim=0)
        else:
            relative = 2 * selector.sigmoid()
        return relative[batch] / self.training.batch_size

    def _plan(
        self, examples: Sequence[TokenizedExample], safe: Sequence[TokenizedExample], seed: int
    ) -> list[tuple[Batch, Batch, float]]:
        """What each step takes: rows, a batch of the safe set, and w.

        Rows are met once an epoch; the safe set goes round on its own, however large it is.
        """
        settings = self.training.model_copy(update={"seed": seed})
        safe_batches = chain.from_iterable(rounds(safe, settings))
        plan: list[tuple[Batch, Batch, float]] = []
        for epoch, batches in enumerate(islice(rounds(examples, settings), settings.epochs)):
            weight = max(0.0, self.safe_weight - epoch * self.safe_weight_decay)
            plan += [(batch, next(safe_batches), weight) for batch in batches]
        return plan
