"""Tasks answered by greedy generation: each answer is scored against the item's target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradshield.evaluation.generation import generate_answers
from gradshield.evaluation.tasks.base import ItemResult, TaskItem, weighted_mean
from gradshield.models.load import LoadedModel


@dataclass(frozen=True)
class Scored:
    """Score of one answer in [0, 1], what was read from the answer, and how it was scored."""

    score: float
    prediction: str
    note: str = ""


@dataclass(frozen=True)
class GeneratedTask:
    """A task whose answers are generated.

    Attributes:
        name: The task's name in the registry.
        metric: What the mean score is called.
        read: Reads the items from the source.
        score: Scores the text of an answer to an item.
        max_new_tokens: Tokens generated at most for an item.
        higher_is_better: Always true of scores.
    """

    name: str
    metric: str
    read: Callable[[Path], list[TaskItem]]
    score: Callable[[TaskItem, str], Scored]
    max_new_tokens: int
    higher_is_better: bool = True

    def items(self, source: Path) -> list[TaskItem]:
        """All items of the source."""
        return self.read(source)

    def measure(
        self, loaded: LoadedModel, items: Sequence[TaskItem], progress: Callable[[int], None]
    ) -> list[ItemResult]:
        """Answer all items greedily and score the answers."""
        answers = generate_answers(
            loaded.model,
            loaded.tokenizer,
            [item.prompt for item in items],
            max_new_tokens=self.max_new_tokens,
            progress=progress,
        )
        return [
            _result(item, answer.text, self.score(item, answer.text))
            for item, answer in zip(items, answers, strict=True)
        ]

    def summarise(self, results: Sequence[ItemResult]) -> float:
        """Mean score, in [0, 1]."""
        return weighted_mean(results)


def _result(item: TaskItem, text: str, scored: Scored) -> ItemResult:
    return ItemResult(item.id, scored.score, scored.prediction, text, note=scored.note)
