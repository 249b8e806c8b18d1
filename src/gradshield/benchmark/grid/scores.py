"""Scores of every filter on every data set, kept by filter, so that a run goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gradshield.benchmark.grid.data_sets import DataSet
from gradshield.benchmark.grid.keys import digest, stable_repr
from gradshield.files import write_text
from gradshield.filters import Filter, Material, Row, Scores
from gradshield.filters.cost import Cost, score_with_cost
from gradshield.threshold.rule import FloatArray


@dataclass(frozen=True)
class FilterRun:
    """What a filter made of one data set.

    Attributes:
        values: [rows], higher = removed first.
        threshold: Its own.
        cost: Passes over the rows that were scored to get them; rows that are in several data
            sets are scored once.
        seconds: Likewise.
    """

    values: FloatArray
    threshold: float
    cost: Cost
    seconds: float


def filter_runs(
    chosen: Filter,
    data_sets: Sequence[DataSet],
    material: Material,
    *,
    folder: Path,
    identity: Mapping[str, Any],
) -> list[FilterRun]:
    """Score all data sets with one filter, or read what a former run has kept.

    Args:
        chosen: The filter.
        data_sets: In the order of the result.
        material: What filters may use.
        folder: Where results are kept, one file for each filter and list of data sets.
        identity: What decides the aligned model, JSON-serialisable.

    Raises:
        ValueError: The material lacks what the filter needs.
    """
    path = folder / f"{_key(chosen, data_sets, material, identity)}.json"
    if path.is_file():
        content = json.loads(path.read_text(encoding="utf-8"))
        return [_read(line) for line in content["runs"]]
    score = _by_row if chosen.by_row else _by_data_set
    runs = score(chosen, data_sets, material)
    lines = [{**asdict(run), "values": run.values.tolist()} for run in runs]
    write_text(path, json.dumps({"filter": chosen.name, "runs": lines}) + "\n")
    return runs


def _read(line: dict[str, Any]) -> FilterRun:
    return FilterRun(
        np.array(line["values"]), line["threshold"], Cost(**line["cost"]), line["seconds"]
    )


def _by_row(chosen: Filter, data_sets: Sequence[DataSet], material: Material) -> list[FilterRun]:
    """Score each distinct row once."""
    places: dict[Any, int] = {}
    pool: list[Row] = []
    for row in (row for one in data_sets for row in one.rows):
        if _content(row) not in places:
            places[_content(row)] = len(pool)
            pool.append(Row(row.conversation, replace(row.example, row=len(pool))))
    scores, cost, seconds = _timed(chosen, pool, material)
    positions = [[places[_content(row)] for row in one.rows] for one in data_sets]
    return [_run(scores.of(chosen_rows), cost, seconds) for chosen_rows in positions]


def _by_data_set(
    chosen: Filter, data_sets: Sequence[DataSet], material: Material
) -> list[FilterRun]:
    runs = []
    with material.progress.track(chosen.name, len(data_sets), "data sets") as advance:
        for one in data_sets:
            own = replace(material, labels=one.harmful, seed=one.cell.seed)
            runs.append(_run(*_timed(chosen, one.rows, own)))
            advance(1)
    return runs


def _timed(chosen: Filter, rows: Sequence[Row], material: Material) -> tuple[Scores, Cost, float]:
    clock = time.perf_counter()
    scores, cost = score_with_cost(chosen, rows, material)
    return scores, cost, time.perf_counter() - clock


def _run(scores: Scores, cost: Cost, seconds: float) -> FilterRun:
    return FilterRun(scores.values, scores.threshold, cost, seconds)


def _content(row: Row) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    return row.example.input_ids, row.example.response_mask


def _settings(chosen: Filter) -> dict[str, Any]:
    """The filter's fields, without functions, whose text changes from run to run."""
    given: Any = chosen
    names = [one.name for one in fields(given)] if is_dataclass(given) else []
    values = {name: getattr(given, name) for name in names}
    return {name: value for name, value in values.items() if not callable(value)}


def _key(
    chosen: Filter,
    data_sets: Sequence[DataSet],
    material: Material,
    identity: Mapping[str, Any],
) -> str:
    """What decides the scores: the filter's fields, the model, the rows, and the material."""
    parts = [
        chosen.name,
        json.dumps(_settings(chosen), sort_keys=True, default=stable_repr),
        json.dumps(dict(identity), sort_keys=True),
        *(repr([_content(row) for row in one.rows]) for one in data_sets),
        repr([one.cell for one in data_sets]),
        material_key(material),
    ]
    return digest(parts)


def material_key(material: Material) -> str:
    """What tells the reference rows of a material from others."""
    parts = (material.harmful, material.refused, material.harmless)
    return digest([repr([_content(row) for row in rows]) for rows in parts])
