"""Two models on the same utility tasks, item by item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gradshield.evaluation.intervals import Difference, paired_bootstrap
from gradshield.evaluation.tasks.base import ItemResult


@dataclass(frozen=True)
class TaskComparison:
    """Two models on one task.

    Attributes:
        task: The task's name.
        matched: Number of items that both have.
        only_first: Number of items that the second lacks; they do not enter the difference.
        only_second: Number of items that the first lacks.
        difference: Mean over matched items of second - first score, with its 95 % interval; None
            if no items match. Of perplexity it is in nats per token, each item counting alike.
    """

    task: str
    matched: int
    only_first: int
    only_second: int
    difference: Difference | None


def compare_tasks(
    first: Mapping[str, Sequence[ItemResult]],
    second: Mapping[str, Sequence[ItemResult]],
    seed: int = 0,
) -> list[TaskComparison]:
    """Compare the results of two models by task.

    Args:
        first: Results by task.
        second: Results of the other model.
        seed: Of the bootstrap's draws.

    Returns:
        One comparison for each task that either has: those of the first in its order, then those
        that only the second has.

    Raises:
        ValueError: A list has two results of one item.
    """
    names = dict.fromkeys((*first, *second))
    return [
        compare_results(name, first.get(name, ()), second.get(name, ()), seed) for name in names
    ]


def compare_results(
    task: str, first: Sequence[ItemResult], second: Sequence[ItemResult], seed: int = 0
) -> TaskComparison:
    """Compare two models on one task; items are matched by id, in the order of the first.

    Raises:
        ValueError: A list has two results of one item.
    """
    first_scores, second_scores = _scores(task, first), _scores(task, second)
    matched = [item for item in first_scores if item in second_scores]
    difference = None
    if matched:
        difference = paired_bootstrap(
            [first_scores[item] for item in matched],
            [second_scores[item] for item in matched],
            seed,
        )
    return TaskComparison(
        task=task,
        matched=len(matched),
        only_first=len(first_scores) - len(matched),
        only_second=len(second_scores) - len(matched),
        difference=difference,
    )


def _scores(task: str, results: Sequence[ItemResult]) -> dict[str, float]:
    scores = {result.id: result.score for result in results}
    if len(scores) < len(results):
        raise ValueError(f"{task}: two results of one item; every item needs an id of its own")
    return scores
