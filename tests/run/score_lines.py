"""The score table of a run as a list of lines, for tests of few rows."""

from __future__ import annotations

from typing import Any

from gradshield.run.folder import RunFolder
from gradshield.run.threshold import read_scores


def score_lines(folder: RunFolder) -> list[dict[str, Any]]:
    """Every line of the table, in the order of the rows."""
    return list(read_scores(folder).lines())
