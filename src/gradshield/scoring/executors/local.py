"""The executor without a cluster: this process scores, one part after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gradshield.progress import Progress
from gradshield.scoring.executors.base import Work, score_here
from gradshield.scoring.parts import Part


@dataclass(frozen=True)
class LocalExecutor:
    """One process; needs nothing that GradShield itself does not need."""

    name: str = "local"

    def check(self) -> None:
        """See `Executor.check`: it always can."""

    def run(self, work: Work, parts: Sequence[Part], progress: Progress) -> None:
        """See `Executor.run`."""
        score_here(work, parts, progress)
