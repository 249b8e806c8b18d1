"""The step `search`: stage 2, the threshold by finetuning and measuring on the user's own rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gradshield.config import RunConfig, SearchSettings
from gradshield.data import LoadedData, TokenizedExample
from gradshield.errors import UserError
from gradshield.evaluation.generation import generate_answers
from gradshield.evaluation.prompt_sets import own_set
from gradshield.evaluation.refusal import is_refusal
from gradshield.evaluation.tasks import TASKS
from gradshield.evaluation.tasks.base import TaskItem
from gradshield.finetuning.supervised import require_trl
from gradshield.finetuning.trial import Trials, Yardsticks
from gradshield.models.likelihood import response_token_losses
from gradshield.models.load import LoadedModel, load_model
from gradshield.probes.calibration import probes
from gradshield.probes.prompt_sets import load_prompts, spread
from gradshield.probes.proxies import make_proxies
from gradshield.progress import Progress
from gradshield.reporting.charts import search_trace, write_chart
from gradshield.run.folder import RunFolder, write_json
from gradshield.run.proof import METHOD
from gradshield.run.provenance import model_identity
from gradshield.run.reading import read_data
from gradshield.run.score import probe_answers
from gradshield.run.source import reopen_input
from gradshield.run.threshold import read_decision, read_scores, write_decision
from gradshield.scoring.batching import batches_by_length
from gradshield.scoring.table import ScoreColumns
from gradshield.threshold import Decision
from gradshield.threshold.search import (
    Measurement,
    Point,
    SearchGoal,
    SearchResult,
    search_threshold,
)

LEAST_ROWS = 20
"""Fewer rows cannot spare any to be held out."""
HELD_OUT_SHARE = 0.1
MOST_HELD_OUT = 100
DRIFT_PROBES = 32


def check_search(settings: SearchSettings) -> None:
    """Find out before the scoring what a search would fail for after it.

    Raises:
        UserError: TRL, or the rows of the utility task, are missing.
    """
    require_trl()
    _task_items(settings)
    _validation_prompts(settings)


def search(config: RunConfig, folder: RunFolder, progress: Progress) -> SearchResult:
    """Search for the threshold from the scores of a run, and replace its decision.

    Writes the trace as `search/trace.json` and `search/trace.svg` after every finetune; what was
    finetuned before is read from `search/trials/`.

    Raises:
        UserError: No search is configured, there are too few rows, or no threshold meets both the
            target and the utility floor; then the kept file must not be written.
    """
    settings = config.search
    if settings is None:
        raise UserError("This run has no search settings: start it with `filter --search`.")
    first = read_decision(folder)
    table = read_scores(folder)
    loaded = load_model(**config.model.model_dump(), say=progress.say)
    data = read_data(config, loaded, progress, reopen_input(config, folder))
    rows = _searched_rows(table, data, first["threshold"], settings)
    trials = Trials(
        loaded,
        rows.examples,
        settings.training,
        _yardsticks(folder, config, loaded, settings, rows.held_out, progress),
        cache=folder.search / "trials",
        identity=model_identity(loaded),
        progress=progress,
    )
    aligned = trials.aligned()
    if aligned.attack_success_rate > settings.target_asr:
        progress.warn(
            f"Before any finetuning the model complies with {aligned.attack_success_rate:.0%} of "
            "the validation prompts, more than the target: hardly any threshold can meet it."
        )
    points: list[Point] = []

    def tell(point: Point) -> None:
        points.append(point)
        progress.say(point_text(point, len(rows.scores)))
        _write_trace(folder, aligned, points, len(rows.scores), settings.target_asr, None)

    result = search_threshold(
        rows.scores,
        trials,
        aligned,
        guess=first["threshold"],
        goal=_goal(settings),
        told=tell,
    )
    _write_trace(folder, aligned, points, len(rows.scores), settings.target_asr, result)
    _decide(folder, table, config, first, result)
    return result


def _goal(settings: SearchSettings) -> SearchGoal:
    return SearchGoal(
        target=settings.target_asr,
        utility_floor=settings.utility_floor,
        tolerance=settings.tolerance,
        most_finetunes=settings.max_finetunes,
    )


@dataclass(frozen=True)
class _SearchedRows:
    """Rows that trials train on, their scores, and rows held out to measure utility on."""

    examples: Sequence[TokenizedExample]
    scores: np.ndarray[Any, np.dtype[np.float64]]
    held_out: Sequence[TokenizedExample]


def _searched_rows(
    table: ScoreColumns, data: LoadedData, guess: float, settings: SearchSettings
) -> _SearchedRows:
    """Hold out rows, spread over those that the scores alone would keep."""
    rows, scores = table.row[table.scored], table.fihs[table.scored]
    if len(rows) < LEAST_ROWS:
        raise UserError(
            f"A search needs at least {LEAST_ROWS} scored rows, these are {len(rows)}: use "
            "`filter` without --search."
        )
    examples = {example.row: example for example in data.examples}
    kept = rows[scores < guess].tolist()
    wanted = min(MOST_HELD_OUT, int(HELD_OUT_SHARE * len(kept)))
    held_out = set(spread(kept, wanted)) if settings.utility == "held_out" else set()
    trained = ~np.isin(rows, sorted(held_out))
    return _SearchedRows(
        [examples[row] for row in rows[trained].tolist()],
        scores[trained],
        [examples[row] for row in sorted(held_out)],
    )


def _yardsticks(
    folder: RunFolder,
    config: RunConfig,
    loaded: LoadedModel,
    settings: SearchSettings,
    held_out: Sequence[TokenizedExample],
    progress: Progress,
) -> Yardsticks:
    answers = probe_answers(config, folder, loaded, progress)
    # One value of S tells the drift: that of the first proxy.
    proxy = make_proxies(config.scoring.proxy, loaded.tokenizer, answers)[0]
    prompts = _validation_prompts(settings)
    return Yardsticks(
        validation_prompts=prompts,
        probes=[prompt.text for prompt in spread(probes("harmful"), DRIFT_PROBES)],
        proxy=proxy,
        utility=_utility(settings, held_out),
        details=lambda finetuned: final_test(finetuned, settings.answer_tokens),
        answer_tokens=settings.answer_tokens,
        names={
            **settings.model_dump(include={"answer_tokens", "utility", "utility_items"}),
            "validation_prompts": list(prompts),
            "held_out": [example.row for example in held_out],
        },
    )


def _validation_prompts(settings: SearchSettings) -> list[str]:
    """Packaged prompts, and the user's own beside them."""
    packaged = spread(load_prompts("harmful", "validation"), settings.validation_prompts)
    prompts = [prompt.text for prompt in packaged]
    if settings.validation_file is not None:
        own = own_set(Path(settings.validation_file), "refuse")
        prompts += [prompt.text for prompt in own.prompts]
    return prompts


def _utility(
    settings: SearchSettings, held_out: Sequence[TokenizedExample]
) -> Callable[[LoadedModel], float]:
    if settings.utility == "held_out":
        return lambda loaded: held_out_likelihood(loaded, held_out)
    task, items = TASKS[settings.utility], _task_items(settings)

    def of_task(loaded: LoadedModel) -> float:
        return task.summarise(task.measure(loaded, items, lambda count: None))

    return of_task


def _task_items(settings: SearchSettings) -> list[TaskItem]:
    """Items of the utility task; none where held-out rows are the utility."""
    if settings.utility == "held_out":
        return []
    if settings.utility_data is None:
        raise UserError(
            f"--utility {settings.utility} needs its test rows: name them, --utility-data."
        )
    items = TASKS[settings.utility].items(Path(settings.utility_data))
    return spread(items, settings.utility_items)


@torch.inference_mode()
def held_out_likelihood(loaded: LoadedModel, examples: Sequence[TokenizedExample]) -> float:
    """Geometric mean, over all response tokens, of their probability, in [0, 1]."""
    losses = [
        loss
        for batch in batches_by_length(examples)
        for loss in response_token_losses(loaded.model, batch)
    ]
    return math.exp(-float(torch.cat(losses).mean()))


def final_test(loaded: LoadedModel, answer_tokens: int) -> dict[str, Any]:
    """Success rate and over-refusal on the packaged test prompts, which no choice depends on."""
    counts = {}
    for name in ("harmful", "ordinary"):
        prompts = [prompt.text for prompt in load_prompts(name, "test")]
        answers = generate_answers(
            loaded.model, loaded.tokenizer, prompts, max_new_tokens=answer_tokens
        )
        refused = sum(is_refusal(answer.text) for answer in answers)
        counts[name] = {"prompts": len(prompts), "refused": refused}
    return {"test": counts}


def point_text(point: Point, rows: int) -> str:
    """One line on a measured point."""
    measured, interval = point.measurement, point.measurement.interval
    return (
        f"Kept {point.kept} of {rows}: complied with {measured.attack_success_rate:.1%} "
        f"({interval.low:.1%} to {interval.high:.1%}), utility {measured.utility:.3f}, drift "
        f"{measured.drift:+.2f}: {'safe' if point.safe else 'not safe'}"
        f"{'' if point.useful else ', utility below the floor'}."
    )


def _write_trace(
    folder: RunFolder,
    aligned: Measurement,
    points: Sequence[Point],
    rows: int,
    target: float,
    result: SearchResult | None,
) -> None:
    entries = [point_entry(point, rows) for point in points]
    outcome = {} if result is None else {"status": result.status, "reason": result.reason}
    write_json(
        folder.trace,
        {**outcome, "rows": rows, "aligned": asdict(aligned), "points": entries},
    )
    if result is not None:
        write_chart(search_trace(entries, target), folder.search / "trace.svg")


def point_entry(point: Point, rows: int) -> dict[str, Any]:
    """A measured point as it stands in the trace; an infinite threshold is null."""
    measured = point.measurement
    return {
        "kept": point.kept,
        "kept_share": point.kept / rows,
        "threshold": point.threshold if math.isfinite(point.threshold) else None,
        "attack_success_rate": measured.attack_success_rate,
        "interval": asdict(measured.interval),
        "predicted_drift": point.predicted_drift,
        "safe": point.safe,
        "useful": point.useful,
        **asdict(measured),
    }


def _decide(
    folder: RunFolder,
    table: ScoreColumns,
    config: RunConfig,
    first: Mapping[str, Any],
    result: SearchResult,
) -> None:
    if result.chosen is None:
        raise UserError(
            f"{result.reason[0].upper()}{result.reason[1:]} No kept file was written; the trace is "
            f"in {folder.trace}. Loosen --target-asr or --utility-floor, or train "
            "more gently (--training)."
        )
    decision = Decision(
        threshold=result.chosen.threshold,
        method=METHOD,
        reason=result.reason,
        diagnostics={
            "status": result.status,
            "finetunes": result.finetunes,
            "from_scores_alone": dict(first),
        },
    )
    write_decision(folder, table, decision, config.threshold)
