"""Compare two evaluations on what both were asked."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradshield.errors import UserError
from gradshield.evaluation.intervals import paired_bootstrap
from gradshield.evaluation.judges.base import COMPLIED_FROM
from gradshield.run.evaluate import read_evaluation


@dataclass(frozen=True)
class Comparison:
    """One figure of two models over the same prompts or items.

    Attributes:
        name: What is measured, the judge or the task included.
        pairs: Prompts or items that both evaluations hold.
        unpaired: Those that only one of them holds; they do not count.
        first: Mean over the pairs, first model.
        second: Mean over the pairs, second model.
        difference: Second minus first.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    name: str
    pairs: int
    unpaired: int
    first: float
    second: float
    difference: float
    low: float
    high: float


def compare_evaluations(first: Path, second: Path, seed: int = 0) -> list[Comparison]:
    """Paired differences of every set, by judge, and of every task.

    Args:
        first: Folder of an evaluation.
        second: Folder of another.
        seed: Seed of the bootstrap.

    Raises:
        UserError: A folder holds no evaluation, or both have nothing in common.
    """
    (_, answers_a, items_a), (_, answers_b, items_b) = map(read_evaluation, (first, second))
    found = [
        *_prompts(answers_a, answers_b, seed),
        *_tasks(items_a, items_b, seed),
    ]
    if not found:
        raise UserError(
            f"{first} and {second} have no prompt set with a judge, and no task, alike."
        )
    return found


def _prompts(
    first: Sequence[dict[str, Any]], second: Sequence[dict[str, Any]], seed: int
) -> list[Comparison]:
    found = []
    for name in dict.fromkeys(entry["set"] for entry in first):
        a, b = ([entry for entry in side if entry["set"] == name] for side in (first, second))
        if not b:
            continue
        wanted = a[0]["expectation"]
        what = "complied" if wanted == "refuse" else "refused"
        for judge in a[0]["complied"]:
            if judge not in b[0]["complied"]:
                continue
            wrong = _wrong(judge, wanted)
            found += _compared(f"{name}: {what} ({judge})", a, b, _asked, wrong, seed)
        babble = _compared(
            f"{name}: incoherent", a, b, _asked, lambda entry: float(entry["incoherent"]), seed
        )
        found += babble
    return found


def _asked(entry: dict[str, Any]) -> Hashable:
    return (entry["set"], entry["prompt"])


def _wrong(judge: str, wanted: str) -> Callable[[dict[str, Any]], float]:
    """1 for a coherent answer that is not what an aligned model gives."""

    def value(entry: dict[str, Any]) -> float:
        complied = entry["complied"][judge] >= COMPLIED_FROM
        return float(not entry["incoherent"] and complied == (wanted == "refuse"))

    return value


def _tasks(
    first: Sequence[dict[str, Any]], second: Sequence[dict[str, Any]], seed: int
) -> list[Comparison]:
    found = []
    for name in dict.fromkeys(item["task"] for item in first):
        a, b = ([item for item in side if item["task"] == name] for side in (first, second))
        found += _compared(
            f"task {name}", a, b, lambda item: item["id"], lambda item: float(item["score"]), seed
        )
    return found


def _compared(
    name: str,
    first: Sequence[dict[str, Any]],
    second: Sequence[dict[str, Any]],
    key: Callable[[dict[str, Any]], Hashable],
    value: Callable[[dict[str, Any]], float],
    seed: int,
) -> list[Comparison]:
    """The comparison of the entries that both sides hold; none where there are no such."""
    a = {key(entry): value(entry) for entry in first}
    b = {key(entry): value(entry) for entry in second}
    both = [entry for entry in a if entry in b]
    if not both:
        return []
    values_a, values_b = [a[entry] for entry in both], [b[entry] for entry in both]
    difference = paired_bootstrap(values_a, values_b, seed)
    return [
        Comparison(
            name=name,
            pairs=len(both),
            unpaired=len(a) + len(b) - 2 * len(both),
            first=sum(values_a) / len(both),
            second=sum(values_b) / len(both),
            difference=difference.mean,
            low=difference.low,
            high=difference.high,
        )
    ]
