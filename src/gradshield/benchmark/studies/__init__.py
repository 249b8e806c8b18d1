"""Studies by name: what `gradshield benchmark NAME` runs."""

from collections.abc import Callable
from pathlib import Path

from gradshield.benchmark.result import StudyResult
from gradshield.benchmark.studies import (
    align,
    demo,
    judges,
    preference,
    reliability,
    robustness,
    search,
    speed,
    threshold,
)
from gradshield.progress import Progress

STUDIES: dict[str, Callable[[Path, Progress], StudyResult]] = {
    "align": align.run,
    "robustness": robustness.run,
    "demo": demo.run,
    "threshold": threshold.run,
    "speed": speed.run,
    "judges": judges.run,
    "search": search.run,
    "preference": preference.run,
    "reliability": reliability.run,
}

__all__ = ["STUDIES"]
