"""The step `threshold`: from the score table to a decision, in seconds and without the model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from gradshield.config import ThresholdSettings
from gradshield.errors import UserError, first_line
from gradshield.run.folder import RunFolder, damaged, read_json, write_json
from gradshield.run.overrides import Override, in_effect, read_overrides
from gradshield.scoring.table import SCHEMA, ScoreColumns, ScoreTable, read_table
from gradshield.threshold import Decision, decide

DECISION_KEYS = ("threshold",)
Outcome = Literal["kept", "removed", "rejected"]
OUTCOMES: tuple[Outcome, ...] = ("kept", "removed", "rejected")


@dataclass(frozen=True)
class RowDecision:
    """Positions of the input rows by what becomes of them; every row is in exactly one."""

    kept: tuple[int, ...]
    removed: tuple[int, ...]
    rejected: tuple[int, ...]

    @cached_property
    def outcomes(self) -> npt.NDArray[np.object_]:
        """What becomes of each row, an `Outcome`, [rows]."""
        rows = {outcome: np.array(getattr(self, outcome), dtype=np.int64) for outcome in OUTCOMES}
        count = max((int(own.max()) + 1 for own in rows.values() if len(own)), default=0)
        outcomes = np.full(count, None, dtype=object)
        for outcome, own in rows.items():
            outcomes[own] = outcome
        return outcomes


def divide(
    table: ScoreColumns,
    threshold: float,
    overrides: Mapping[int, Override] = MappingProxyType({}),
) -> RowDecision:
    """Divide rows at a threshold: removed at or above it, kept below, rejected without score.

    A row that an override names is where the reviewer put it, rejected ones too.
    """
    found = np.where(table.fihs >= threshold, *map(OUTCOMES.index, ("removed", "kept")))
    found[~table.scored] = OUTCOMES.index("rejected")
    for action, outcome in _RULED.items():
        named = [row for row, override in overrides.items() if override.action == action]
        found[np.isin(table.row, np.array(named, dtype=np.int64))] = OUTCOMES.index(outcome)
    return RowDecision(*(tuple(table.row[found == code].tolist()) for code in range(len(OUTCOMES))))


_RULED: Mapping[str, Outcome] = {"keep": "kept", "remove": "removed"}


def threshold(folder: RunFolder, settings: ThresholdSettings) -> Decision:
    """Decide, and write `decision.json`.

    A threshold that removes nothing is infinite, which JSON lacks: it is written as null.

    Raises:
        UserError: Nothing was scored yet, or the rule cannot be used.
    """
    table = read_scores(folder)
    try:
        decision = decide(
            table.fihs[table.scored],
            read_reference(folder),
            rule=settings.rule,
            level=settings.level,
            seed=settings.seed,
        )
    except ValueError as fault:
        raise UserError(str(fault)) from fault
    write_decision(folder, table, decision, settings)
    return decision


def write_decision(
    folder: RunFolder,
    table: ScoreColumns,
    decision: Decision,
    settings: ThresholdSettings,
) -> None:
    """Write `decision.json` with the counts that follow from score table and overrides."""
    write_json(
        folder.decision,
        {
            "threshold": decision.threshold if math.isfinite(decision.threshold) else None,
            "method": decision.method,
            "reason": decision.reason,
            "level": settings.level,
            "seed": settings.seed,
            **counted(table, decision.threshold, in_effect(read_overrides(folder))),
            "diagnostics": decision.diagnostics,
        },
    )


def counted(
    table: ScoreColumns, threshold: float, overrides: Mapping[int, Override]
) -> dict[str, Any]:
    """How many rows are kept, removed and rejected, and which of them against the score.

    Returns:
        The three counts, and `overrides`: by reviewer, how many are in effect, how many of all
        agree with the score, and the rows that were overruled, each with what the score alone
        would make of it and what became of it.
    """
    rows = divide(table, threshold, overrides)
    alone, final = divide(table, threshold).outcomes, rows.outcomes
    overruled = [
        {"row": row, "from": alone[row], "to": final[row], "reviewer": override.reviewer}
        for row, override in overrides.items()
        if alone[row] != final[row]
    ]
    return {
        "kept": len(rows.kept),
        "removed": len(rows.removed),
        "rejected": len(rows.rejected),
        "overrides": {
            "reviewers": dict(Counter(override.reviewer for override in overrides.values())),
            "agreeing": len(overrides) - len(overruled),
            "overruled": overruled,
        },
    }


def count_again(folder: RunFolder) -> None:
    """Bring the counts in `decision.json` up to the overrides, after some were recorded.

    Raises:
        UserError: There is no decision yet, or no scores.
    """
    limit = read_decision(folder)["threshold"]
    counts = counted(read_scores(folder), limit, in_effect(read_overrides(folder)))
    content = read_json(folder.decision)
    write_json(folder.decision, {**content, **counts})


def record_action(
    folder: RunFolder, counts: Mapping[str, Any], action: str, added: Mapping[str, Any]
) -> None:
    """Add to `decision.json` what was done by it.

    Args:
        folder: The run.
        counts: What `counted` says of the rows as they were written.
        action: What was done with the rows.
        added: Counts of the file that the action added, under the file's name; empty if none.
    """
    content = read_json(folder.decision)
    kept = {name: value for name, value in content.items() if name not in ("annotated", "masked")}
    write_json(folder.decision, {**kept, **counts, "action": action, **added})


def read_decision(folder: RunFolder) -> dict[str, Any]:
    """Read `decision.json`; its threshold is infinite again where nothing is removed.

    Raises:
        UserError: There is none yet.
    """
    if not folder.decision.is_file():
        raise UserError(f"No decision in {folder.path} yet: run `gradshield threshold` first.")
    content: dict[str, Any] = read_json(folder.decision, *DECISION_KEYS)
    if content["threshold"] is None:
        content["threshold"] = math.inf
    return content


def read_scores(folder: RunFolder) -> ScoreTable:
    """The score table of a run, by columns.

    Raises:
        UserError: There is none yet, or only a part of it.
    """
    try:
        table = read_table(folder.scores)
    except (pa.ArrowException, OSError, ValueError) as fault:
        raise damaged(folder.scores, first_line(fault)) from fault
    if not len(table):
        raise UserError(f"No scores in {folder.path} yet: run `gradshield score` first.")
    if not folder.rejections.is_file():
        raise UserError(
            f"Scoring in {folder.path} stopped after {len(table)} rows: run the same command "
            "again, it goes on from there; shards are joined by `gradshield merge`."
        )
    return table


def read_reference(folder: RunFolder) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """Scores of the harmless reference rows, or None where there are none."""
    if not folder.reference.is_file():
        return None
    try:
        lines = pq.read_table(folder.reference, schema=SCHEMA).to_pylist()
    except (pa.ArrowException, OSError, ValueError) as fault:
        raise damaged(folder.reference, first_line(fault)) from fault
    return np.array([line["fihs"] for line in lines if line["status"] == "scored"])
