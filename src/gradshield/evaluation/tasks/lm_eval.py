"""Any task of the EleutherAI lm-evaluation-harness (Gao et al. 2021), item by item."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from gradshield.errors import UserError
from gradshield.evaluation.tasks.base import ItemResult, TaskItem, weighted_mean
from gradshield.models.load import LoadedModel

HARNESS_PREFIX = "harness:"
BATCH_SIZE = 8
_LOAD_FAULTS = (KeyError, ValueError, TypeError, OSError, ImportError)


@dataclass(frozen=True)
class HarnessTask:
    """A task or group of the harness, by its name there.

    The harness makes the prompts, renders them with the chat template, since chat models are
    measured here, and scores the answers. An item's score is the first metric of its task of which
    an item has a number and of which more is better; the result's note names it.

    Attributes:
        task: The name in the harness.
        higher_is_better: Always true of the metrics that are taken.
    """

    task: str
    higher_is_better: bool = True

    @property
    def name(self) -> str:
        """`harness:` and the name in the harness."""
        return HARNESS_PREFIX + self.task

    @property
    def metric(self) -> str:
        """That of the harness; the notes of the results say which one."""
        return "the task's first metric"

    def items(self, source: Path) -> list[TaskItem]:
        """The test documents, `TASK/POSITION` being their ids.

        Prompt and target stay empty: the harness makes them. Data sets may be downloaded.

        Args:
            source: A folder that may hold task definitions (YAML) of the user's own, or one such
                file; the harness's own tasks are known beside them.

        Raises:
            UserError: The harness is not installed, or the task or its data cannot be had.
        """
        folder = source if source.is_dir() else source.parent
        tasks = self._loaded(_task_manager(folder))
        return [
            TaskItem(f"{name}/{position}", prompt="", target="", context=str(folder))
            for name, task in tasks.items()
            for position in range(len(task.eval_docs))
        ]

    def measure(
        self, loaded: LoadedModel, items: Sequence[TaskItem], progress: Callable[[int], None]
    ) -> list[ItemResult]:
        """Let the harness measure the chosen documents.

        Raises:
            UserError: The harness is not installed, or the task has no metric of single items.
        """
        if not items:
            return []
        evaluated = _harness("lm_eval").simple_evaluate(
            model=_harness("lm_eval.models.huggingface").HFLM(
                pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=BATCH_SIZE
            ),
            tasks=[self.task],
            samples=_positions(items),
            task_manager=_task_manager(Path(items[0].context)),
            apply_chat_template=True,
            bootstrap_iters=0,
            log_samples=True,
        )
        progress(len(items))
        better = evaluated["higher_is_better"]
        found: dict[str, ItemResult] = {}
        for task, samples in evaluated["samples"].items():
            for sample in samples:
                item_id = f"{task}/{sample['doc_id']}"
                # Of several filters on the answers the first one counts.
                found.setdefault(item_id, self._result(item_id, sample, better[task]))
        return [found[item.id] for item in items]

    def summarise(self, results: Sequence[ItemResult]) -> float:
        """Mean of the metric over all items."""
        return weighted_mean(results)

    def _loaded(self, manager: Any) -> dict[str, Any]:
        try:
            tasks: dict[str, Any] = manager.load([self.task])["tasks"]
        except _LOAD_FAULTS as fault:
            raise UserError(
                f"The harness cannot load the task {self.task} ({fault}): check the name with "
                "`lm-eval ls tasks`, and that its data can be downloaded or is in the cache."
            ) from fault
        return tasks

    def _result(
        self, item_id: str, sample: dict[str, Any], better: dict[str, bool | None]
    ) -> ItemResult:
        for metric in sample["metrics"]:
            value = sample[metric]
            if better.get(metric) and isinstance(value, int | float):
                # Generated answers are texts, likelihoods of choices are pairs.
                texts = [one for one in sample["filtered_resps"] if isinstance(one, str)]
                text = texts[0] if texts else ""
                note = f"{metric}, {sample['filter']}"
                return ItemResult(item_id, float(value), text, text, note=note)
        raise UserError(
            f"The harness task {self.task} has no metric that scores single items with more being "
            f"better (it has {', '.join(sample['metrics'])}): choose another task."
        )


def _positions(items: Sequence[TaskItem]) -> dict[str, list[int]]:
    """Positions of documents, by task, as the harness takes them."""
    chosen: dict[str, list[int]] = {}
    for item in items:
        task, _, position = item.id.rpartition("/")
        chosen.setdefault(task, []).append(int(position))
    return chosen


@lru_cache(maxsize=1)
def _task_manager(folder: Path) -> Any:
    """The harness's index of tasks; kept, for reading its thousands of files takes seconds."""
    return _harness("lm_eval.tasks").TaskManager(include_path=str(folder))


def _harness(module: str) -> Any:
    """A module of the harness; imported when needed, for it is large and optional."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as fault:
        raise UserError(
            f"Tasks of the evaluation harness need it installed ({fault}): "
            "pip install 'gradshield[harness]'"
        ) from fault
