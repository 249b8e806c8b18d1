"""What one process needs to measure the cells of a grid, and the two jobs it does with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gradshield.benchmark.attacks import ATTACKS
from gradshield.benchmark.grid.attack_rows import attack_rows
from gradshield.benchmark.grid.config import GridConfig
from gradshield.benchmark.grid.data_sets import draw_data_sets, grid_material
from gradshield.benchmark.grid.finetunes import Finetuner, Plan
from gradshield.benchmark.grid.lines import finetune_line
from gradshield.benchmark.grid.scores import FilterRun, filter_runs
from gradshield.filters import filter_by_name
from gradshield.models.load import load_model
from gradshield.progress import Progress
from gradshield.run.provenance import model_identity


class Bench:
    """The loaded model, what filters may use, the data sets, and what is to be finetuned.

    Made of the same arguments, it is the same in every process.

    Args:
        config: The grid.
        public_data: The folder of public data.
        out: The folder of the results; `cache` in it keeps what was measured.
        progress: Told what goes on.
        device: Where the model is put in place of what the configuration says.

    Raises:
        UserError: The model or a public file cannot be had, or there are too few rows of a task or
            of an attack.
    """

    def __init__(
        self,
        config: GridConfig,
        public_data: Path,
        out: Path,
        progress: Progress,
        device: str | None = None,
    ) -> None:
        self.config, self.progress, self.cache = config, progress, out / "cache"
        model = config.model.model_dump() | ({} if device is None else {"device": device})
        self.loaded = load_model(**model, say=progress.say)
        self.identity = model_identity(self.loaded)
        self.material = grid_material(config, public_data, self.loaded, progress)
        rows = {
            name: attack_rows(
                ATTACKS[name],
                public_data,
                self.loaded,
                most_tokens=config.most_tokens,
                folder=self.cache / "attacks",
                identity=self.identity,
                progress=progress,
            )
            for name in config.attacks
        }
        self.data_sets = list(draw_data_sets(config, public_data, self.loaded.tokenizer, rows))
        self.plans: list[Plan] = []
        self._finetuners: list[Finetuner] = []
        for settings in config.finetunes:
            self._plan(Finetuner(settings, public_data, self.material, self.cache, self.identity))
        self._runs: dict[str, list[FilterRun]] = {}

    def _plan(self, finetuner: Finetuner) -> None:
        """Add what a finetuner is to measure; what another one measures already is left out."""
        new = [plan for plan in finetuner.plans(self.data_sets) if plan not in self.plans]
        self.plans += new
        self._finetuners += [finetuner] * len(new)

    def runs(self, name: str) -> list[FilterRun]:
        """What a filter makes of every data set, in their order; measured or read once."""
        if name not in self._runs:
            self._runs[name] = filter_runs(
                filter_by_name(name),
                self.data_sets,
                self.material,
                folder=self.cache / "scores",
                identity=self.identity,
            )
        return self._runs[name]

    def line(self, number: int) -> dict[str, Any]:
        """The result of the plan at a position of `plans`."""
        plan = self.plans[number]
        self.progress.say(
            f"{plan.data_set.cell.name}, {plan.filter}, {plan.method}, {plan.protocol}"
        )
        names = [one.cell.name for one in self.data_sets]
        run = self.runs(plan.filter)[names.index(plan.data_set.cell.name)]
        return finetune_line(plan, self._finetuners[number].measure(plan, run))

    def release(self) -> None:
        """Give the model's memory to the workers; from here on, results are only read."""
        model: nn.Module = self.loaded.model
        model.to("meta")
        torch.cuda.empty_cache()


def score(bench: Bench, name: str) -> str:
    """The job that makes a filter's scores and keeps them; it returns the filter's name."""
    place = bench.config.filters.index(name) + 1
    bench.progress.say(f"Filter {place} of {len(bench.config.filters)}: {name}.")
    bench.runs(name)
    return name


def measure(bench: Bench, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
    """The job that finetunes and measures: by the numbers of plans, their results."""
    return {number: bench.line(number) for number in numbers}
