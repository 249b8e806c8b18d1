"""Finetuning on what filters keep, and measuring what becomes of safety and utility."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from gradshield.benchmark.attacks import ATTACKS, Evaluation
from gradshield.benchmark.attacks.splits import TEST, VALIDATION, advbench_prompts
from gradshield.benchmark.grid.config import Finetunes
from gradshield.benchmark.grid.data_sets import NO_ATTACK, Cell, DataSet
from gradshield.benchmark.grid.keys import digest, stable_repr
from gradshield.benchmark.grid.scores import FilterRun, material_key
from gradshield.benchmark.grid.separation import remove_count
from gradshield.benchmark.training_methods import TRAINING_METHODS
from gradshield.data import TokenizedExample
from gradshield.evaluation.coherence import incoherent
from gradshield.evaluation.generation import generate_answers
from gradshield.evaluation.judges import Exchange, Judge, make_judge
from gradshield.evaluation.judges.base import COMPLIED_FROM
from gradshield.evaluation.prompt_sets import xstest_safe
from gradshield.evaluation.refusal import is_refusal
from gradshield.evaluation.tasks import TASKS, TaskItem
from gradshield.files import write_text
from gradshield.filters import Material
from gradshield.finetuning.supervised import TrainingSettings
from gradshield.finetuning.trial import PLAIN, Trials, Yardsticks
from gradshield.models.load import LoadedModel
from gradshield.probes.calibration import probes
from gradshield.probes.prompt_sets import load_prompts, spread
from gradshield.probes.proxies import OwnAnswers
from gradshield.probes.proxies.contrast import make_contrast
from gradshield.progress import Progress
from gradshield.threshold.search import Measurement, SearchGoal, search_threshold

DRIFT_PROBES = 32
SECOND_JUDGE = "hidden_states"
"""Beside the phrase judge; both work offline."""


@dataclass(frozen=True)
class Plan:
    """One model to be measured.

    Attributes:
        data_set: What it could have been finetuned on.
        filter: The filter that chose among the rows; `none` for a training method.
        method: The training method.
        protocol: How the scores divide the rows.
        training: Which of the trainings on the same rows, from 0.
    """

    data_set: DataSet
    filter: str
    method: str
    protocol: str
    training: int = 0


class Finetuner:
    """The aligned model and what finetuned ones are measured with, made once for a grid.

    Args:
        settings: What is finetuned and measured.
        public_data: Folder of public data.
        material: What training methods may use; holds the aligned model.
        cache: Folder of what is kept, by kind.
        identity: What decides the aligned model.
    """

    def __init__(
        self,
        settings: Finetunes,
        public_data: Path,
        material: Material,
        cache: Path,
        identity: dict[str, Any],
    ) -> None:
        self.settings, self.public_data = settings, public_data
        self.material, self.loaded = material, material.loaded
        self.cache, self.identity = cache, identity
        self.progress: Progress = material.progress

    def plans(self, data_sets: Sequence[DataSet]) -> Iterator[Plan]:
        """All models to be measured, cells in the order of the data sets."""
        settings = self.settings
        for one in data_sets:
            if not _chosen(one.cell, settings):
                continue
            for plan in self._without_search(one):
                for training in range(settings.trainings):
                    yield replace(plan, training=training)
            for name in settings.search.filters if settings.search else ():
                yield Plan(one, name, PLAIN, "search")

    def _without_search(self, one: DataSet) -> Iterator[Plan]:
        settings = self.settings
        for name in settings.filters:
            for protocol in settings.protocols if name != "none" else ("own_threshold",):
                if protocol == "own_threshold" or one.cell.share:
                    yield Plan(one, name, PLAIN, protocol)
        for method in settings.training_methods:
            if method != PLAIN:
                yield Plan(one, "none", method, "own_threshold")

    def measure(self, plan: Plan, run: FilterRun) -> dict[str, Any]:
        """Finetune as planned and measure; figures for one line of the results."""
        trials = self._trials(plan.data_set, plan.method)
        finetunes = 1
        if plan.protocol == "search":
            kept, measurement, finetunes = self._searched(trials, run)
        else:
            kept = _kept(plan, run)
            measurement = trials(kept, plan.training) if kept else trials.aligned()
        return {
            **_division(plan.data_set, kept),
            **self.figures(measurement, plan.data_set.cell),
            "finetunes": finetunes,
        }

    def _searched(self, trials: Trials, run: FilterRun) -> tuple[list[int], Measurement, int]:
        search = self.settings.search
        if search is None:
            raise ValueError("no search is configured")
        goal = SearchGoal(
            search.target_asr, search.utility_floor, search.tolerance, search.max_finetunes
        )
        found = search_threshold(
            run.values, trials, trials.aligned(), guess=run.threshold, goal=goal
        )
        if found.chosen is None:
            return [], trials.aligned(), found.finetunes
        kept = np.flatnonzero(run.values < found.chosen.threshold).tolist()
        return kept, found.chosen.measurement, found.finetunes

    def figures(self, measurement: Measurement, cell: Cell) -> dict[str, Any]:
        """Attack success by two judges, over-refusal and utility of one measured model."""
        details = measurement.details or {}
        return {
            **self._verdicts(cell.attack.partition(":")[0], details["answers"]),
            "over_refusals": sum(map(is_refusal, details["over_refusal"])),
            "over_refusal_prompts": len(details["over_refusal"]),
            "utility": details.get("utility", measurement.utility),
            "validation_asr": measurement.attack_success_rate,
            "drift": measurement.drift,
        }

    def _verdicts(self, attack: str, answers: Sequence[str]) -> dict[str, int]:
        """Both judges' counts, kept by content: judging takes as long as answering."""
        key = digest([json.dumps(self.identity, sort_keys=True), attack, json.dumps(answers)])
        path = self.cache / "verdicts" / f"{key}.json"
        if not path.is_file():
            write_text(path, json.dumps(self._judged(self._evaluation(attack), answers)) + "\n")
        found: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def _judged(self, evaluation: Evaluation, answers: Sequence[str]) -> dict[str, int]:
        whole = [Exchange(*one) for one in zip(self._test_prompts, answers, strict=True)]
        babble = incoherent(whole, self.loaded)
        phrases = [evaluation.complied(one.answer, is_refusal) for one in whole]
        states = self._complied_by_states(evaluation, whole)
        return {
            "prompts": len(whole),
            "complied": _count(phrases, babble),
            "complied_second_judge": _count(states, babble),
            "incoherent": sum(babble),
        }

    def _complied_by_states(
        self, evaluation: Evaluation, exchanges: Sequence[Exchange]
    ) -> list[bool]:
        """The second judge's opinion of the part that is to be judged; without one, no success."""
        parts = [evaluation.judged(one.answer) for one in exchanges]
        shown = [
            Exchange(one.prompt, part or "") for one, part in zip(exchanges, parts, strict=True)
        ]
        values = self._second_judge.complied(shown)
        return [
            part is not None and value >= COMPLIED_FROM
            for part, value in zip(parts, values, strict=True)
        ]

    @cached_property
    def _second_judge(self) -> Judge:
        return make_judge(SECOND_JUDGE, self.loaded)

    @cached_property
    def _test_prompts(self) -> list[str]:
        return advbench_prompts(self.public_data, TEST)[: self.settings.test_prompts]

    @cached_property
    def _validation(self) -> list[str]:
        half = self.settings.validation_prompts // 2
        packaged = spread(load_prompts("harmful", "validation"), half)
        held_out = advbench_prompts(self.public_data, VALIDATION)
        return [*(one.text for one in packaged), *spread(held_out, half)]

    @cached_property
    def _harmless(self) -> list[str]:
        prompts = xstest_safe(self.public_data)
        return [one.text for one in spread(prompts, self.settings.over_refusal_prompts)]

    def _evaluation(self, attack: str) -> Evaluation:
        name = attack.partition(":")[0]
        return Evaluation() if name == NO_ATTACK else ATTACKS[name].evaluation(self.public_data)

    def _items(self, task: str) -> tuple[list[TaskItem], list[TaskItem]]:
        """Items that a search looks at, and those of the test, which it does not see.

        Without a search those of the test are looked at in its place, and none are left.
        """
        count = self.settings.utility_items
        items = spread(TASKS[task].items(self.public_data), 2 * count)
        return (items[1::2], []) if self.settings.search is None else (items[0::2], items[1::2])

    def _trials(self, data_set: DataSet, method: str) -> Trials:
        cell, settings = data_set.cell, self.settings
        evaluation = self._evaluation(cell.attack)
        looked_at, tested = self._items(cell.task)
        yardsticks = Yardsticks(
            validation_prompts=[evaluation.ask(prompt) for prompt in self._validation],
            probes=[one.text for one in spread(probes("harmful"), DRIFT_PROBES)],
            # It pairs fixed wordings, whatever the model answers itself.
            proxy=make_contrast(self.loaded.tokenizer, OwnAnswers([], [])),
            utility=partial(_utility, cell.task, looked_at),
            details=partial(self._details, evaluation, cell.task, tested),
            answer_tokens=settings.answer_tokens + evaluation.lead_tokens,
            complied=lambda answer: evaluation.complied(answer, is_refusal),
            names={
                "grid": settings.model_dump(
                    include={
                        "test_prompts",
                        "validation_prompts",
                        "over_refusal_prompts",
                        "utility_items",
                        "answer_tokens",
                    }
                ),
                "task": cell.task,
                "searched": settings.search is not None,
                "asked": "plainly" if evaluation == Evaluation() else cell.attack.partition(":")[0],
            },
        )
        chosen = TRAINING_METHODS[method]

        def train(
            loaded: LoadedModel,
            rows: Sequence[TokenizedExample],
            training: TrainingSettings,
            progress: Progress,
        ) -> None:
            chosen.finetune(loaded, rows, training, self.material)

        return Trials(
            self.loaded,
            [row.example for row in data_set.rows],
            settings.training.model_copy(update={"seed": 100 * cell.seed}),
            yardsticks,
            cache=self.cache / "trials",
            identity=self.identity,
            progress=self.progress,
            train=train,
            method=self._method_key(method),
        )

    def _method_key(self, method: str) -> str:
        """What tells trials of a training method from others."""
        if method == PLAIN:
            return PLAIN
        return f"{stable_repr(TRAINING_METHODS[method])} {material_key(self.material)}"

    def _details(
        self, evaluation: Evaluation, task: str, tested: Sequence[TaskItem], loaded: LoadedModel
    ) -> dict[str, Any]:
        """Answers, which are judged once the aligned model is back, and utility on items given."""
        tokens = self.settings.answer_tokens
        asked = [evaluation.ask(prompt) for prompt in self._test_prompts]
        return {
            "answers": self._answers(loaded, asked, tokens + evaluation.lead_tokens),
            "over_refusal": self._answers(loaded, self._harmless, tokens),
            **({"utility": _utility(task, tested, loaded)} if tested else {}),
        }

    def _answers(self, loaded: LoadedModel, prompts: Sequence[Any], tokens: int) -> list[str]:
        answers = generate_answers(loaded.model, loaded.tokenizer, prompts, max_new_tokens=tokens)
        return [answer.text for answer in answers]


def _chosen(cell: Cell, settings: Finetunes) -> bool:
    attack = cell.attack.partition(":")[0]
    return (
        cell.task in settings.tasks
        and (attack in settings.attacks or attack == NO_ATTACK)
        and cell.share in settings.shares
        and cell.seed in settings.seeds
    )


def _kept(plan: Plan, run: FilterRun) -> list[int]:
    """Positions of the rows that a protocol without finetunes keeps."""
    if plan.protocol == "equal_share":
        harmful = sum(plan.data_set.harmful)
        return remove_count(run.values, harmful, plan.data_set.cell.seed)
    kept: list[int] = np.flatnonzero(run.values < run.threshold).tolist()
    return kept


def _division(data_set: DataSet, kept: Sequence[int]) -> dict[str, Any]:
    harmful = np.array(data_set.harmful)
    stays = np.isin(np.arange(len(harmful)), kept)
    return {
        "kept": len(kept),
        "harmless_lost": float((~stays[~harmful]).mean()),
        "harmful_kept": float(stays[harmful].mean()) if harmful.any() else None,
    }


def _utility(task: str, items: Sequence[TaskItem], loaded: LoadedModel) -> float:
    chosen = TASKS[task]
    return chosen.summarise(chosen.measure(loaded, items, lambda count: None))


def _count(complied: Sequence[bool], babble: Sequence[bool]) -> int:
    """Coherent answers that comply: babble is no harm."""
    return sum(one and not mad for one, mad in zip(complied, babble, strict=True))
