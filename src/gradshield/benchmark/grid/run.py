"""Run a grid: score all data sets by all filters, finetune, and write one table of results."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from gradshield.benchmark.attacks import ATTACKS, Knowledge, Victim
from gradshield.benchmark.attacks.mixing import HARMLESS
from gradshield.benchmark.attacks.victim import fihs_scorer, own_direction
from gradshield.benchmark.grid.config import GridConfig
from gradshield.benchmark.grid.data_sets import DataSet, draw_data_sets, grid_material
from gradshield.benchmark.grid.finetunes import Finetuner, Plan
from gradshield.benchmark.grid.scores import FilterRun, filter_runs
from gradshield.benchmark.grid.separation import separation
from gradshield.benchmark.result import made_by
from gradshield.files import write_text
from gradshield.filters import Material, filter_by_name
from gradshield.finetuning.trial import PLAIN
from gradshield.models.load import LoadedModel, load_model
from gradshield.probes.prompt_sets import load_prompts, spread
from gradshield.progress import Progress
from gradshield.run.folder import write_json
from gradshield.run.provenance import model_identity
from gradshield.scoring.score import prepare_engine
from gradshield.shield import GradShield

COLUMNS = (
    *("level", "task", "attack", "share", "seed", "filter", "method", "protocol"),
    *("auroc", "average_precision", "recall_at_1", "recall_at_5"),
    *("harmless_lost", "harmful_kept", "planted_kept"),
    *("forwards", "backwards", "trainings", "seconds"),
    *("kept", "finetunes", "prompts", "complied", "complied_second_judge", "incoherent"),
    *("over_refusals", "over_refusal_prompts", "utility", "validation_asr", "drift"),
)
"""Of the raw results; a line of the level `scores` leaves the last ones empty."""
RESULTS = "results.csv"
ATTACKER_PROBES = 32


def run_grid(config: GridConfig, public_data: Path, out: Path, progress: Progress) -> Path:
    """Measure all cells and write `OUT/results.csv`, `config.json` and `made_by.json`.

    What was measured before, in `OUT/cache`, is not measured again, so that an interrupted run
    goes on. The table is written anew after every finetune.

    Raises:
        UserError: The model or a public file cannot be had.
    """
    write_json(out / "config.json", config.model_dump(mode="json"))
    write_json(out / "made_by.json", made_by())
    loaded = load_model(**config.model.model_dump(), say=progress.say)
    material = grid_material(config, public_data, loaded, progress)
    data_sets = list(
        draw_data_sets(config, public_data, loaded.tokenizer, _victims(config, loaded, progress))
    )
    identity = model_identity(loaded)
    runs = _all_runs(config, data_sets, material, out / "cache" / "scores", identity)
    lines = [line for name in config.filters for line in _score_lines(name, data_sets, runs[name])]
    write_lines(out / RESULTS, lines)
    if config.finetunes is not None:
        cache = out / "cache" / "trials"
        finetuner = Finetuner(config.finetunes, public_data, material, cache, identity)
        _measure(finetuner, data_sets, runs, lines, out / RESULTS, progress)
    return out / RESULTS


def _victims(config: GridConfig, loaded: LoadedModel, progress: Progress) -> dict[str, Victim]:
    """GradShield as attackers see it who know the method, or also its probes."""
    found = {}
    for name in config.attacks:
        knowledge = ATTACKS[name].knowledge
        if knowledge is Knowledge.NOTHING:
            continue
        shield = GradShield(loaded.model, loaded.tokenizer, progress=progress)
        if knowledge is Knowledge.METHOD:
            prompts = spread(load_prompts("harmful", "validation"), ATTACKER_PROBES)
            direction = own_direction(loaded, [one.text for one in prompts], progress)
            engine = prepare_engine(loaded, direction, shield.scoring, progress)
        else:
            engine = shield.engine
        found[name] = Victim(
            fihs_scorer(loaded, engine),
            loaded.tokenizer,
            max_length=config.most_tokens,
            progress=progress,
        )
    return found


def _all_runs(
    config: GridConfig,
    data_sets: Sequence[DataSet],
    material: Material,
    folder: Path,
    identity: dict[str, Any],
) -> dict[str, list[FilterRun]]:
    found = {}
    for number, name in enumerate(config.filters, start=1):
        material.progress.say(f"Filter {number} of {len(config.filters)}: {name}.")
        found[name] = filter_runs(
            filter_by_name(name), data_sets, material, folder=folder, identity=identity
        )
    return found


def _score_lines(
    name: str, data_sets: Sequence[DataSet], runs: Sequence[FilterRun]
) -> list[dict[str, Any]]:
    """The results before any training."""
    return [
        {
            **_cell("scores", one, name, PLAIN, "own_threshold"),
            **asdict(separation(run.values, one.harmful, run.threshold)),
            "planted_kept": _planted_kept(one, run),
            **asdict(run.cost),
            "seconds": round(run.seconds, 2),
        }
        for one, run in zip(data_sets, runs, strict=True)
    ]


def _planted_kept(data_set: DataSet, run: FilterRun) -> float | None:
    """Share of the rows that are not the task's, harmful or controls, below the threshold."""
    planted = np.array([label.kind != HARMLESS for label in data_set.labels])
    return float((run.values[planted] < run.threshold).mean()) if planted.any() else None


def _measure(
    finetuner: Finetuner,
    data_sets: Sequence[DataSet],
    runs: dict[str, list[FilterRun]],
    lines: list[dict[str, Any]],
    path: Path,
    progress: Progress,
) -> None:
    plans = list(finetuner.plans(data_sets))
    places = {one.cell.name: place for place, one in enumerate(data_sets)}
    with progress.track("Finetunes", len(plans), "models") as advance:
        for plan in plans:
            progress.say(
                f"{plan.data_set.cell.name}, {plan.filter}, {plan.method}, {plan.protocol}"
            )
            run = runs[plan.filter][places[plan.data_set.cell.name]]
            lines.append({**_planned(plan), **finetuner.measure(plan, run)})
            write_lines(path, lines)
            advance(1)


def _planned(plan: Plan) -> dict[str, Any]:
    return _cell("finetune", plan.data_set, plan.filter, plan.method, plan.protocol)


def _cell(level: str, data_set: DataSet, name: str, method: str, protocol: str) -> dict[str, Any]:
    return {
        "level": level,
        **asdict(data_set.cell),
        "filter": name,
        "method": method,
        "protocol": protocol,
    }


def write_lines(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Write the raw results as CSV, whole or not at all; what a line lacks is left empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_text(path, text.getvalue())
