"""Run a grid: score all data sets by all filters, finetune, and write one table of results."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from gradshield.benchmark.grid.bench import Bench, measure, score
from gradshield.benchmark.grid.config import GridConfig
from gradshield.benchmark.grid.finetunes import Plan
from gradshield.benchmark.grid.known import Known, place, read_known
from gradshield.benchmark.grid.lines import (
    CONFIG,
    MADE_BY,
    RESULTS,
    Line,
    plan_place,
    score_lines,
    score_place,
    write_lines,
)
from gradshield.benchmark.grid.workers import Each, Order, measuring
from gradshield.benchmark.result import made_by
from gradshield.progress import Progress
from gradshield.run.folder import write_json


def run_grid(
    config: GridConfig,
    public_data: Path,
    out: Path,
    progress: Progress,
    *,
    workers: int = 1,
    known: Sequence[Path] = (),
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
        known: Folders of other runs, whose lines are taken over, see `read_known`.

    Raises:
        UserError: The model, a public file or a known result cannot be had, or the known ones were
            measured under other settings.
    """
    before = read_known(known, config)
    write_json(out / CONFIG, config.model_dump(mode="json"))
    write_json(out / MADE_BY, made_by() | ({"known": before.made_by} if known else {}))
    bench = Bench(config, public_data, out, progress)
    with measuring(bench, Order(config, public_data, out, workers)) as each:
        lines = _scored(bench, each, before)
        write_lines(out / RESULTS, lines)
        if bench.plans:
            _finetuned(bench, each, before, lines, out / RESULTS, together=workers > 1)
    return out / RESULTS


def _scored(bench: Bench, each: Each, before: Known) -> list[Line]:
    """Every filter's scores, which are in the cache then, as lines of the results."""
    lines = {name: _known_scores(bench, name, before) for name in bench.config.filters}
    names = [name for name, found in lines.items() if found is None]
    with bench.progress.track("Filters", len(names), "filters") as advance:
        for name in each(score, names):
            lines[name] = score_lines(name, bench.data_sets, bench.runs(name))
            advance(1)
    return [line for found in lines.values() for line in found or ()]


def _known_scores(bench: Bench, name: str, before: Known) -> list[Line] | None:
    """The lines of a filter if those of all data sets are known."""
    found = [before.of(score_place(name, one)) for one in bench.data_sets]
    lines = [line for line in found if line is not None]
    return lines if len(lines) == len(found) else None


def _finetuned(
    bench: Bench, each: Each, before: Known, scored: list[Line], path: Path, *, together: bool
) -> None:
    """Measure all plans; write lines in the order of the plans, whichever is finished first."""
    known = _known_models(bench.plans, before, scored)
    found = {number: line for number, line in enumerate(known) if line is not None}
    groups = related(bench.plans) if together else [[one] for one in range(len(bench.plans))]
    unknown = [[number for number in group if number not in found] for group in groups]
    wanted = [group for group in unknown if group]
    with bench.progress.track("Finetunes", sum(map(len, wanted)), "models") as advance:
        for results in chain([{}], each(measure, wanted)):
            found.update(results)
            write_lines(path, [*scored, *(found[number] for number in sorted(found))])
            advance(len(results))


def _known_models(
    plans: Sequence[Plan], before: Known, scored: Sequence[Line]
) -> list[Line | None]:
    """By plan, what is known of it, or of a model that was trained on the same rows."""
    scores = {place(line): line for line in scored}

    def known(plan: Plan) -> Line | None:
        wanted = plan_place(plan)
        line = scores.get(place(score_place(plan.filter, plan.data_set)))
        found = before.of(wanted)
        if found or line is None or plan.protocol != "own_threshold":
            return found
        return before.same_rows(wanted, line)

    return [known(plan) for plan in plans]


def related(plans: Sequence[Plan]) -> list[list[int]]:
    """Positions of plans by data set and filter: they often keep the same rows, thus share trials.

    One process finds the trials of its own plans in the cache; two would do them twice.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for number, plan in enumerate(plans):
        groups.setdefault((plan.data_set.cell.name, plan.filter), []).append(number)
    return list(groups.values())
