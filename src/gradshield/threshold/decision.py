"""The outcome of a threshold rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Decision:
    """A threshold on FIHS scores, and how it came about.

    Attributes:
        threshold: Rows with ``score >= threshold`` are removed, rows below are kept, in the unit
            of the scores. ``math.inf`` removes nothing.
        method: Name of the rule that produced the threshold.
        reason: One plain sentence with figures, for the terminal.
        diagnostics: JSON-serialisable details: fitted parameters, log-likelihoods, warnings.
    """

    threshold: float
    method: str
    reason: str
    diagnostics: dict[str, Any]
