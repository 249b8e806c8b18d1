"""What every utility task offers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gradshield.models.load import LoadedModel


@dataclass(frozen=True)
class TaskItem:
    """One test item.

    Attributes:
        id: Unique within the task and the same in every evaluation, so that models can be paired.
        prompt: The user turn.
        target: The right answer.
        choices: The answers to choose among, where there are such.
        context: What else a judge of the answer needs, such as the tables of a query.
    """

    id: str
    prompt: str
    target: str
    choices: tuple[str, ...] = ()
    context: str = ""


@dataclass(frozen=True)
class ItemResult:
    """How a model did on an item.

    Attributes:
        id: Of the item.
        score: In [0, 1], 1 is right; of a perplexity nats per token.
        prediction: What the answer was taken for.
        answer: The generated text; empty where nothing is generated.
        weight: What the item counts in the mean.
        note: How it was scored, where there is more than one way.
    """

    id: str
    score: float
    prediction: str
    answer: str = ""
    weight: float = 1.0
    note: str = ""


class Task(Protocol):
    """A utility task: where its items come from, and how a model is scored on them."""

    @property
    def name(self) -> str:
        """The task's name in `TASKS`."""
        ...

    @property
    def metric(self) -> str:
        """What its figure is, in words."""
        ...

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher figure is a better model."""
        ...

    def items(self, source: Path) -> list[TaskItem]:
        """Test items, in a fixed order.

        Args:
            source: Folder of the public data sets, or a file of the user's in the same form.

        Raises:
            UserError: The file is missing, or a row lacks a field.
        """
        ...

    def measure(
        self,
        loaded: LoadedModel,
        items: Sequence[TaskItem],
        progress: Callable[[int], None],
    ) -> list[ItemResult]:
        """One result an item, in their order."""
        ...

    def summarise(self, results: Sequence[ItemResult]) -> float:
        """The task's figure."""
        ...


def weighted_mean(results: Sequence[ItemResult]) -> float:
    """Mean of the scores by weight.

    Raises:
        ValueError: There are no results.
    """
    total = sum(result.weight for result in results)
    if total == 0:
        raise ValueError("The mean score of no items is not defined: pass at least one result.")
    return sum(result.weight * result.score for result in results) / total
