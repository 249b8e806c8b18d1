"""Measure one model: attack success by several judges, over-refusal, and utility."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gradshield.evaluation.coherence import incoherent
from gradshield.evaluation.generation import Answer, Sampling, generate_answers
from gradshield.evaluation.intervals import wilson
from gradshield.evaluation.judges import Exchange, Judge, agreement
from gradshield.evaluation.judges.base import COMPLIED_FROM
from gradshield.evaluation.prompt_sets import EvaluatedSet
from gradshield.evaluation.tasks.base import Task, TaskItem
from gradshield.models.load import LoadedModel
from gradshield.progress import Progress

ALL_KINDS = "all"


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        sets: One entry a prompt set and kind, with shares and intervals by judge.
        tasks: One entry a task, with its figure.
        generations: One entry a prompt: answer, values of the judges, coherence.
        items: One entry a task item: score, prediction, answer.
    """

    sets: list[dict[str, Any]]
    tasks: list[dict[str, Any]]
    generations: list[dict[str, Any]]
    items: list[dict[str, Any]]


def evaluate_prompts(
    loaded: LoadedModel,
    judged_by: LoadedModel,
    prompt_sets: Sequence[EvaluatedSet],
    judges: Sequence[Judge],
    *,
    answer_tokens: int,
    sampling: Sampling | None,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Let a model answer prompt sets, and judge every answer.

    Args:
        loaded: The model that is measured.
        judged_by: The aligned model, under which answers should be fluent.
        prompt_sets: What is asked.
        judges: Who judges, the first one counting most.
        answer_tokens: Tokens generated at most for a prompt.
        sampling: How to draw tokens; None is greedy.
        progress: Told how far it is.

    Returns:
        One entry a prompt, in the order of the sets.
    """
    entries: list[dict[str, Any]] = []
    for chosen in prompt_sets:
        texts = [prompt.text for prompt in chosen.prompts]
        with progress.track(f"Answering {chosen.name}", len(texts), "prompts") as advance:
            answers = generate_answers(
                loaded.model,
                loaded.tokenizer,
                texts,
                max_new_tokens=answer_tokens,
                sampling=sampling,
                progress=advance,
            )
        entries += _judged(chosen, answers, judges, judged_by)
    return entries


def _judged(
    chosen: EvaluatedSet,
    answers: Sequence[Answer],
    judges: Sequence[Judge],
    judged_by: LoadedModel,
) -> list[dict[str, Any]]:
    exchanges = [
        Exchange(prompt.text, answer.text)
        for prompt, answer in zip(chosen.prompts, answers, strict=True)
    ]
    babble = incoherent(exchanges, judged_by)
    values = {judge.name: judge.complied(exchanges) for judge in judges}
    return [
        {
            "set": chosen.name,
            "expectation": chosen.expectation,
            "position": position,
            "kind": prompt.kind,
            "prompt": prompt.text,
            "answer": answer.text,
            "finished": answer.finished,
            "incoherent": babble[position],
            "complied": {name: value[position] for name, value in values.items()},
        }
        for position, (prompt, answer) in enumerate(zip(chosen.prompts, answers, strict=True))
    ]


def summarise_prompts(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Shares by set, and by kind where a set of harmless prompts has kinds.

    An answer counts as complied with, or as refused, only if it is coherent: babble is neither
    safety nor harm, and has a share of its own.
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for entry in entries:
        groups[entry["set"], ALL_KINDS].append(entry)
        if entry["expectation"] == "answer" and entry["kind"]:
            groups[entry["set"], entry["kind"]].append(entry)
    return [_summary(name, kind, group) for (name, kind), group in groups.items()]


def _summary(name: str, kind: str, entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    judges = list(entries[0]["complied"])
    counts = {judge: _counts(entries, judge) for judge in judges}
    return {
        "set": name,
        "kind": kind,
        "expectation": entries[0]["expectation"],
        "prompts": len(entries),
        "incoherent": sum(entry["incoherent"] for entry in entries),
        "judges": counts,
        "agreement": _agreement(entries, judges),
    }


def _counts(entries: Sequence[dict[str, Any]], judge: str) -> dict[str, Any]:
    """Complied and refused, as counts and shares with Wilson intervals."""
    coherent = [entry for entry in entries if not entry["incoherent"]]
    complied = sum(entry["complied"][judge] >= COMPLIED_FROM for entry in coherent)
    found = {}
    for outcome, count in (("complied", complied), ("refused", len(coherent) - complied)):
        interval = wilson(count, len(entries))
        found[outcome] = {
            "count": count,
            "share": count / len(entries),
            "interval": [interval.low, interval.high],
        }
    return found


def _agreement(entries: Sequence[dict[str, Any]], judges: Sequence[str]) -> dict[str, Any] | None:
    """How the first two judges agree; the disagreeing answers are for a person to read."""
    if len(judges) < 2:
        return None
    first, second = ([entry["complied"][judge] for entry in entries] for judge in judges[:2])
    return {"judges": list(judges[:2]), **asdict(agreement(first, second))}


def evaluate_tasks(
    loaded: LoadedModel,
    tasks: Sequence[tuple[Task, Sequence[TaskItem]]],
    progress: Progress,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Measure utility tasks: an entry a task, and an entry an item."""
    summaries, items = [], []
    for task, chosen in tasks:
        with progress.track(f"Task {task.name}", len(chosen), "items") as advance:
            results = task.measure(loaded, chosen, advance)
        summaries.append(
            {
                "task": task.name,
                "metric": task.metric,
                "higher_is_better": task.higher_is_better,
                "items": len(results),
                "value": task.summarise(results),
            }
        )
        items += [{"task": task.name, **asdict(result)} for result in results]
    return summaries, items
