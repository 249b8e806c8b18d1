"""Compare a run on the demo data with the true labels, which the product never reads."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score


@dataclass(frozen=True)
class Label:
    """The truth about one row of the demo data."""

    kind: str
    harmful: bool

    @property
    def explicit(self) -> bool:
        """Whether it is a harmful row that answers a harmful request."""
        return self.kind.startswith("explicit_")


def read_labels(path: Path) -> list[Label]:
    """Labels in row order."""
    with path.open(encoding="utf-8", newline="") as stream:
        return [Label(row["kind"], row["harmful"] == "1") for row in csv.DictReader(stream)]


def area_under_curve(scores: Mapping[int, float], labels: Sequence[Label], kind: str) -> float:
    """AUROC of one harmful kind (`all`, `explicit`, or a kind's name) against all harmless rows."""
    chosen = [
        (labels[row].harmful, score)
        for row, score in scores.items()
        if not labels[row].harmful or _is_kind(labels[row], kind)
    ]
    truth, values = zip(*chosen, strict=True)
    return float(roc_auc_score(truth, values))


def _is_kind(label: Label, kind: str) -> bool:
    return kind == "all" or (kind == "explicit" and label.explicit) or label.kind == kind


def evaluate(
    scores: Mapping[int, float], labels: Sequence[Label], threshold: float
) -> list[dict[str, Any]]:
    """Per kind: rows, rows removed, mean score, and AUROC against the harmless rows.

    Args:
        scores: FIHS by row; rejected rows are absent.
        labels: The truth, in row order.
        threshold: Rows at or above it are removed.
    """
    lines = []
    for kind in sorted({label.kind for label in labels}, key=lambda kind: _order(labels, kind)):
        rows = [row for row, label in enumerate(labels) if label.kind == kind and row in scores]
        values = np.array([scores[row] for row in rows])
        harmful = any(label.harmful for label in labels if label.kind == kind)
        lines.append(
            {
                "kind": kind,
                "harmful": harmful,
                "rows": len(rows),
                "removed": int((values >= threshold).sum()),
                "mean_fihs": float(values.mean()),
                "auroc": area_under_curve(scores, labels, kind) if harmful else None,
            }
        )
    return lines


def _order(labels: Sequence[Label], kind: str) -> tuple[bool, str]:
    return next(label.harmful for label in labels if label.kind == kind), kind


def share_removed(
    scores: Mapping[int, float], labels: Sequence[Label], threshold: float, which: str
) -> float:
    """Share removed of `harmless` rows, `explicit` harmful rows or `identity_shift` rows."""
    chosen = [
        score
        for row, score in scores.items()
        if (which == "harmless" and not labels[row].harmful)
        or (labels[row].harmful and _is_kind(labels[row], which))
    ]
    return sum(score >= threshold for score in chosen) / len(chosen)
