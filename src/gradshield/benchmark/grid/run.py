"""Run a grid: score all data sets by all filters, finetune, and write one table of results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gradshield.benchmark.grid.bench import Bench, measure, score
from gradshield.benchmark.grid.config import GridConfig
from gradshield.benchmark.grid.finetunes import Plan
from gradshield.benchmark.grid.lines import RESULTS, score_lines, write_lines
from gradshield.benchmark.grid.workers import Each, Order, measuring
from gradshield.benchmark.result import made_by
from gradshield.progress import Progress
from gradshield.run.folder import write_json


def run_grid(
    config: GridConfig, public_data: Path, out: Path, progress: Progress, *, workers: int = 1
) -> Path:
    """Measure all cells and write `OUT/results.csv`, `config.json` and `made_by.json`.

    What was measured before, in `OUT/cache`, is not measured again, so that an interrupted run
    goes on. The table is written anew after every finetune.

    Args:
        config: The grid.
        public_data: The folder of public data.
        out: The folder of the results.
        progress: Told what goes on.
        workers: Processes that measure at once, each with a model of its own; 1 measures in this
            one. The lines and their order are the same with any number.

    Raises:
        UserError: The model or a public file cannot be had.
    """
    write_json(out / "config.json", config.model_dump(mode="json"))
    write_json(out / "made_by.json", made_by())
    bench = Bench(config, public_data, out, progress)
    with measuring(bench, Order(config, public_data, out, workers)) as each:
        lines = _scored(bench, each)
        write_lines(out / RESULTS, lines)
        if bench.plans:
            _finetuned(bench, each, lines, out / RESULTS, together=workers > 1)
    return out / RESULTS


def _scored(bench: Bench, each: Each) -> list[dict[str, Any]]:
    """Every filter's scores, which are in the cache then, as lines of the results."""
    names = bench.config.filters
    with bench.progress.track("Filters", len(names), "filters") as advance:
        for _ in each(score, names):
            advance(1)
    return [line for name in names for line in score_lines(name, bench.data_sets, bench.runs(name))]


def _finetuned(
    bench: Bench, each: Each, scored: list[dict[str, Any]], path: Path, *, together: bool
) -> None:
    """Measure all plans; write lines in the order of the plans, whichever is finished first."""
    groups = related(bench.plans) if together else [[one] for one in range(len(bench.plans))]
    found: dict[int, dict[str, Any]] = {}
    with bench.progress.track("Finetunes", len(bench.plans), "models") as advance:
        for results in each(measure, groups):
            found.update(results)
            write_lines(path, [*scored, *(found[number] for number in sorted(found))])
            advance(len(results))


def related(plans: Sequence[Plan]) -> list[list[int]]:
    """Positions of plans by data set and filter: they often keep the same rows, thus share trials.

    One process finds the trials of its own plans in the cache; two would do them twice.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for number, plan in enumerate(plans):
        groups.setdefault((plan.data_set.cell.name, plan.filter), []).append(number)
    return list(groups.values())
