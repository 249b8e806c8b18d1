"""Lisa: steps on safe rows between those on the task, and a pull back (Huang et al. 2024).

"Lisa: Lazy Safety Alignment for Large Language Models against Harmful Fine-tuning Attack", arXiv
2405.18641. Training goes back and forth between two states, alignment and task. In each the loss
has the term rho/2 |theta - theta_prev|^2, with theta_prev the weights at the last change of state,
so that neither state drifts far from where the other one left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from gradshield.data import TokenizedExample
from gradshield.filters.base import Material, Need
from gradshield.finetuning.adapter import fresh_adapter
from gradshield.finetuning.descent import add_token_gradients, descend, rounds, step_batches
from gradshield.finetuning.supervised import TrainingSettings
from gradshield.models.layers import block_linear_layers
from gradshield.models.load import LoadedModel
from gradshield.models.open_weights import trainable_only

RHO = 1.0
PROXIMAL_FROM = 0.1
"""Strength of the pull, and the share of all steps before it sets in; both as released."""
ALIGNMENT_STEPS = 2
TASK_STEPS = 18
"""One step in ten is of alignment, as released; there it is 100 of each 1,000.

A finetune here may have fewer steps than that, and the states have to change a few times.
"""

Batch = Sequence[TokenizedExample]


@dataclass(frozen=True)
class Lisa:
    """Alternates between safe rows and the task, held back by a proximal term.

    The safe rows are refusals and harmless rows. All rows of the task are trained on as often as in
    plain finetuning and the steps of alignment come on top; the released code has them take the
    place of steps of the task.

    Attributes:
        rho: Strength of the proximal term.
        alignment_steps: Steps in a row on safe rows, with which the training begins.
        task_steps: Steps in a row on the task.
        proximal_from: Share of all steps before the proximal term sets in.
    """

    rho: float = RHO
    alignment_steps: int = ALIGNMENT_STEPS
    task_steps: int = TASK_STEPS
    proximal_from: float = PROXIMAL_FROM
    name: str = "lisa"
    needs: frozenset[Need] = frozenset({Need.REFUSALS, Need.HARMLESS_ROWS})

    def finetune(
        self,
        loaded: LoadedModel,
        examples: Sequence[TokenizedExample],
        training: TrainingSettings,
        material: Material,
    ) -> None:
        """Train in two states; see `TrainingMethod`."""
        if not material.refused or not material.harmless:
            raise ValueError("Lisa needs safe rows: Material(refused=..., harmless=...).")
        safe = [row.example for row in (*material.refused, *material.harmless)]
        plan = self.plan(examples, safe, training)
        with (
            _trainable(loaded.model, training) as parameters,
            material.progress.track("Finetuning", len(plan), "steps") as advance,
        ):
            pull = _Pull(parameters, self.rho)

            def add_gradients(step: int) -> None:
                batch, changed = plan[step]
                if changed:
                    pull.anchor()
                add_token_gradients(loaded.model, batch)
                if step >= self.proximal_from * len(plan):
                    pull.add_gradients()

            descend(parameters, training, len(plan), add_gradients, advance)

    def plan(
        self, examples: Batch, safe: Batch, training: TrainingSettings
    ) -> list[tuple[Batch, bool]]:
        """The batch of every step, and whether the state changes before it."""
        plan: list[tuple[Batch, bool]] = []
        of_safe = chain.from_iterable(rounds(safe, training))
        task = step_batches(examples, training)
        for start in range(0, len(task), self.task_steps):
            plan += [(next(of_safe), step == 0) for step in range(self.alignment_steps)]
            part = task[start : start + self.task_steps]
            plan += [(batch, place == 0) for place, batch in enumerate(part)]
        return plan


class _Pull:
    """The proximal term: an anchor, and the gradient of the distance to it.

    Args:
        parameters: What is trained.
        rho: Strength.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], rho: float) -> None:
        self.parameters, self.rho = parameters, rho
        self.anchored: list[Tensor] = []

    @torch.no_grad()
    def anchor(self) -> None:
        """Pull towards the present weights from now on."""
        self.anchored = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def add_gradients(self) -> None:
        """Add rho (theta - theta_prev), the gradient of rho/2 |theta - theta_prev|^2."""
        for parameter, anchor in zip(self.parameters, self.anchored, strict=True):
            pull = self.rho * (parameter - anchor)
            parameter.grad = pull if parameter.grad is None else parameter.grad + pull


@contextmanager
def _trainable(model: PreTrainedModel, training: TrainingSettings) -> Iterator[list[nn.Parameter]]:
    """What `finetune` would train, in training mode: an adapter, or the block linear layers.

    The adapter is merged at the end.
    """
    with ExitStack() as stack:
        # Evaluation mode afterwards, as `finetune` leaves it, also where the training fails.
        stack.callback(model.eval)
        if training.lora is None:
            weights = [layer.weight for layer in block_linear_layers(model).values()]
            stack.enter_context(trainable_only(model, weights))
        else:
            factors = fresh_adapter(model, training.lora, training.seed, merge=True)
            weights = [part for pair in stack.enter_context(factors) for part in pair]
        model.train()
        yield weights
