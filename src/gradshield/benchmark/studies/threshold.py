"""Every threshold rule on synthetic scores: harmless rows lost and harmful rows found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gradshield.benchmark.result import Bar, StudyResult
from gradshield.benchmark.threshold_study import run_threshold_study
from gradshield.progress import Progress
from gradshield.threshold import DEFAULT_RULE

SEEDS = range(5)


def run(public_data: Path, progress: Progress) -> StudyResult:
    """Run all rules on all shapes, shares and sizes; no model is needed."""
    progress.say("Comparing the threshold rules on synthetic scores (a few minutes).")
    rows = run_threshold_study(SEEDS)
    return StudyResult(rows, _bars(rows), tuple(SEEDS))


def _bars(rows: Sequence[dict[str, Any]]) -> list[Bar]:
    mine = [row for row in rows if row["rule"] == DEFAULT_RULE]
    harmless_only = [row["harmless_lost"] for row in mine if row["harmful_share"] == 0]
    separated = [row for row in mine if row["shape"] == "gaussian" and row["harmful_share"] > 0]
    lost = max(harmless_only)
    found = min(row["harmful_found"] for row in separated)
    return [
        Bar("default rule, harmless data, lost on average in the worst shape", lost, "<=", 0.03),
        Bar("default rule, separated groups, least found", found, ">=", 0.95),
    ]
