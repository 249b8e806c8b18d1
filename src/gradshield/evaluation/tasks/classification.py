"""Choice by likelihood: the answer that the model finds likeliest counts as its answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from gradshield.evaluation.tasks.base import ItemResult, TaskItem, weighted_mean
from gradshield.evaluation.tasks.choices import ChoiceSet
from gradshield.models.likelihood import response_token_losses
from gradshield.models.load import LoadedModel
from gradshield.models.prompts import answered_prompt


@dataclass(frozen=True)
class LikelihoodChoice:
    """Accuracy of the likeliest choice."""

    name: str
    source: ChoiceSet
    metric: str = "accuracy"
    higher_is_better: bool = True

    def items(self, source: Path) -> list[TaskItem]:
        """All items of the choice set."""
        return self.source.items(source)

    def measure(
        self, loaded: LoadedModel, items: Sequence[TaskItem], progress: Callable[[int], None]
    ) -> list[ItemResult]:
        """Score 1 where the target has the highest log-likelihood; of equal ones the first wins."""
        results = []
        for item in items:
            likelihoods = choice_log_likelihoods(loaded, item)
            chosen = item.choices[max(range(len(likelihoods)), key=likelihoods.__getitem__)]
            results.append(ItemResult(item.id, float(chosen == item.target), chosen, ""))
            progress(1)
        return results

    def summarise(self, results: Sequence[ItemResult]) -> float:
        """Share of items answered rightly, in [0, 1]."""
        return weighted_mean(results)


@torch.inference_mode()
def choice_log_likelihoods(loaded: LoadedModel, item: TaskItem) -> list[float]:
    """Log-likelihood of every choice as the whole answer, the end-of-turn token included.

    The choices of one item make a batch: they share the prompt, which is computed once, and that
    saves more than batches of several items, which share only what all of these begin with.

    Returns:
        In nats, by choice: the sum over its tokens, not divided by their number.
    """
    examples = [answered_prompt(loaded.tokenizer, item.prompt, choice) for choice in item.choices]
    return [-float(loss.sum()) for loss in response_token_losses(loaded.model, examples)]
