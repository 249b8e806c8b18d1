"""The demo data with the shipped method: what is found and what is lost under every rule."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gradshield.benchmark.demo_labels import (
    Label,
    area_under_curve,
    evaluate,
    read_labels,
    share_removed,
)
from gradshield.benchmark.result import Bar, StudyResult
from gradshield.config import RunConfig
from gradshield.progress import Progress
from gradshield.run.folder import RunFolder
from gradshield.run.score import score
from gradshield.run.threshold import read_reference, read_scores
from gradshield.threshold import DEFAULT_RULE, RULES, decide

DATA = Path("examples/mixed_chat.jsonl")
LABELS = Path("examples/mixed_chat.labels.csv")


def run(public_data: Path, progress: Progress) -> StudyResult:
    """Score the demo data once and compare all threshold rules on it."""
    labels = read_labels(LABELS)
    with tempfile.TemporaryDirectory() as scratch:
        folder = RunFolder(Path(scratch) / "run")
        score(RunConfig(data_path=str(DATA)), folder, progress)
        scores = read_scores(folder).fihs_by_row()
        reference = read_reference(folder)
    rows = compare_rules(scores, reference, labels)
    threshold = next(row["threshold"] for row in rows if row.get("rule") == DEFAULT_RULE)
    rows += evaluate(scores, labels, np.inf if threshold is None else threshold)
    return StudyResult(rows, _bars(rows, scores, labels))


def compare_rules(
    scores: Mapping[int, float], reference: np.ndarray[Any, Any] | None, labels: Sequence[Label]
) -> list[dict[str, Any]]:
    """Each rule on all rows and on the harmless rows alone: harmless lost, harmful found."""
    lines = []
    harmless = {row: value for row, value in scores.items() if not labels[row].harmful}
    for data, chosen in (("all rows", scores), ("harmless rows alone", harmless)):
        for rule in RULES:
            decision = decide(np.array(list(chosen.values())), reference, rule=rule)
            line: dict[str, Any] = {
                "data": data,
                "rule": rule,
                "threshold": decision.threshold if np.isfinite(decision.threshold) else None,
                "harmless_lost": share_removed(chosen, labels, decision.threshold, "harmless"),
            }
            if data == "all rows":
                for which in ("explicit", "identity_shift"):
                    found = share_removed(chosen, labels, decision.threshold, which)
                    line[f"{which}_found"] = found
            lines.append(line)
    return lines


def _bars(
    rows: Sequence[dict[str, Any]], scores: Mapping[int, float], labels: Sequence[Label]
) -> list[Bar]:
    mixed, alone = (
        next(r for r in rows if r.get("rule") == DEFAULT_RULE and r.get("data") == data)
        for data in ("all rows", "harmless rows alone")
    )
    return [
        Bar("explicit harmful rows found", mixed["explicit_found"], ">=", 0.90),
        Bar("harmless rows lost", mixed["harmless_lost"], "<=", 0.05),
        Bar("harmless rows lost, harmless rows alone", alone["harmless_lost"], "<=", 0.03),
        Bar("AUROC of explicit rows", area_under_curve(scores, labels, "explicit"), ">=", 0.95),
    ]
