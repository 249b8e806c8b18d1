"""The step `threshold`: from the score table to a decision, in seconds and without the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gradshield.config import ThresholdSettings
from gradshield.errors import UserError, first_line
from gradshield.run.folder import RunFolder, damaged, read_json, write_json
from gradshield.scoring.table import SCHEMA, read_table
from gradshield.threshold import Decision, decide

DECISION_KEYS = ("threshold", "method", "reason", "kept", "removed", "rejected")


@dataclass(frozen=True)
class RowDecision:
    """Positions of the input rows by what becomes of them; every row is in exactly one."""

    kept: tuple[int, ...]
    removed: tuple[int, ...]
    rejected: tuple[int, ...]


def divide(lines: Sequence[dict[str, Any]], threshold: float) -> RowDecision:
    """Divide rows at a threshold: removed at or above it, kept below, rejected without score."""
    scored = [line for line in lines if line["status"] == "scored"]
    return RowDecision(
        kept=tuple(line["row"] for line in scored if line["fihs"] < threshold),
        removed=tuple(line["row"] for line in scored if line["fihs"] >= threshold),
        rejected=tuple(line["row"] for line in lines if line["status"] == "rejected"),
    )


def threshold(folder: RunFolder, settings: ThresholdSettings) -> Decision:
    """Decide, and write `decision.json`.

    A threshold that removes nothing is infinite, which JSON lacks: it is written as null.

    Raises:
        UserError: Nothing was scored yet, or the rule cannot be used.
    """
    lines = read_scores(folder)
    scores = np.array([line["fihs"] for line in lines if line["status"] == "scored"])
    try:
        decision = decide(
            scores,
            read_reference(folder),
            rule=settings.rule,
            level=settings.level,
            seed=settings.seed,
        )
    except ValueError as fault:
        raise UserError(str(fault)) from fault
    write_decision(folder, lines, decision, settings)
    return decision


def write_decision(
    folder: RunFolder,
    lines: Sequence[dict[str, Any]],
    decision: Decision,
    settings: ThresholdSettings,
) -> None:
    """Write `decision.json` with the counts that follow from the lines of the score table."""
    rows = divide(lines, decision.threshold)
    write_json(
        folder.decision,
        {
            "threshold": decision.threshold if math.isfinite(decision.threshold) else None,
            "method": decision.method,
            "reason": decision.reason,
            "level": settings.level,
            "seed": settings.seed,
            "kept": len(rows.kept),
            "removed": len(rows.removed),
            "rejected": len(rows.rejected),
            "diagnostics": decision.diagnostics,
        },
    )


def record_action(folder: RunFolder, action: str, annotated: int | None) -> None:
    """Add to `decision.json` what was done by it.

    Args:
        folder: The run.
        action: What was done with the rows.
        annotated: Rows in the file that the action added, None if it added none.
    """
    content = read_json(folder.decision)
    content.pop("annotated", None)
    added = {} if annotated is None else {"annotated": annotated}
    write_json(folder.decision, {**content, "action": action, **added})


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


def read_scores(folder: RunFolder) -> list[dict[str, Any]]:
    """The score table of a run.

    Raises:
        UserError: There is none yet, or only a part of it.
    """
    try:
        lines = read_table(folder.scores)
    except (pa.ArrowException, OSError, ValueError) as fault:
        raise damaged(folder.scores, first_line(fault)) from fault
    if not lines:
        raise UserError(f"No scores in {folder.path} yet: run `gradshield score` first.")
    if not folder.rejections.is_file():
        raise UserError(
            f"Scoring in {folder.path} stopped after {len(lines)} rows: run the same command "
            "again, it goes on from there."
        )
    return lines


def read_reference(folder: RunFolder) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """Scores of the harmless reference rows, or None where there are none."""
    if not folder.reference.is_file():
        return None
    try:
        lines = pq.read_table(folder.reference, schema=SCHEMA).to_pylist()
    except (pa.ArrowException, OSError, ValueError) as fault:
        raise damaged(folder.reference, first_line(fault)) from fault
    return np.array([line["fihs"] for line in lines if line["status"] == "scored"])
