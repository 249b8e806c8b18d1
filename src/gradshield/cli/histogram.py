"""The distribution of scores in a terminal, with the threshold in it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from rich.text import Text

BINS, WIDTH = 18, 44


def histogram(scores: Sequence[float] | npt.NDArray[np.float64], threshold: float) -> list[Text]:
    """Lines of bars, lowest scores first; what is removed is red.

    No bar holds rows of both sides: the bins are counted from the threshold.

    Args:
        scores: FIHS of the scored rows, at least one.
        threshold: Rows at or above it are removed; infinite where none is.
    """
    values = np.asarray(scores, dtype=np.float64)
    edges = _edges(values, threshold)
    counts, _ = np.histogram(values, edges)
    lines = []
    for count, low, high in zip(counts, edges, edges[1:], strict=False):
        if low == threshold:
            lines.append(Text(f"{threshold:+9.4f} ┄┄ threshold ┄┄", style="bold"))
        # A few rows among thousands are to be seen too.
        bar = "█" * max(math.ceil(WIDTH * count / counts.max()), int(count > 0))
        line = Text(f"{(low + high) / 2:+9.4f} ")
        lines.append(line.append(bar, "red" if low >= threshold else "cyan").append(f" {count}"))
    if math.isfinite(threshold) and threshold >= edges[-1]:
        lines.append(Text(f"{threshold:+9.4f} ┄┄ threshold, above all scores ┄┄", style="bold"))
    return lines


def _edges(values: npt.NDArray[np.float64], threshold: float) -> list[float]:
    """Edges of equal bins that hold all values; the threshold is one if it is among them."""
    low, high = float(values.min()), float(values.max())
    largest = max(abs(low), abs(high))
    # Equal scores have a bin; scores that hardly differ must not have bins without a width.
    width = max((high - low) / BINS, 4 * np.spacing(largest)) if high > low else max(largest, 1.0)
    start = threshold if low <= threshold <= high else low
    before, after = math.ceil((start - low) / width), math.floor((high - start) / width) + 1
    edges = [start + width * step for step in range(-before, after + 1)]
    # Rounding must leave no score outside.
    return [min(edges[0], low), *edges[1:-1], max(edges[-1], np.nextafter(high, math.inf))]
