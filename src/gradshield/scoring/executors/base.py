"""What an executor is: it takes parts of a run to where they are scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from transformers import PreTrainedTokenizerBase

from gradshield.config import ModelSettings, ScoringSettings
from gradshield.data.survey import Survey
from gradshield.models.load import LoadedModel
from gradshield.progress import Progress
from gradshield.scoring.parts import Part, ScoreLines, score_part


@dataclass(frozen=True)
class Recipe:
    """How another process makes what this one scores with.

    Attributes:
        model: The model, with whole paths and a `dtype` that is not "auto".
        scoring: The engine and its settings.
        direction: File of the direction.
        step: Of finite differences, see `PreparedEngine`.
        identify: What decides the numbers of a loaded model.
        identity: That of the model that the direction was measured on.
    """

    model: ModelSettings
    scoring: ScoringSettings
    direction: Path
    step: float | None
    identify: Callable[[LoadedModel], dict[str, Any]]
    identity: dict[str, Any]


@dataclass(frozen=True)
class Work:
    """A run whose direction, engine and reference scores are settled: its rows can be scored.

    Attributes:
        rows: The input.
        tokenizer: The model's.
        score: Scores rows in this process.
        recipe: For scoring elsewhere; None where rows are scored by a served model.
    """

    rows: Survey
    tokenizer: PreTrainedTokenizerBase
    score: ScoreLines
    recipe: Recipe | None = None


class Executor(Protocol):
    """Where and how parts are scored."""

    @property
    def name(self) -> str:
        """Its name in `EXECUTORS`."""

    def check(self) -> None:
        """See whether it can work here, before anything that takes long.

        Raises:
            UserError: It cannot.
        """

    def run(self, work: Work, parts: Sequence[Part], progress: Progress) -> None:
        """Score parts that are not done; what is done when this stops stays done.

        Raises:
            UserError: It cannot go on.
        """


def score_here(work: Work, parts: Sequence[Part], progress: Progress) -> None:
    """Score parts in this process, one after the other."""
    with progress.track("Scoring rows", sum(len(part.rows) for part in parts), "rows") as advance:
        for part in parts:
            if part.is_done:
                advance(len(part.rows))
            else:
                score_part(part, work.rows.read(part.rows, work.tokenizer), work.score, advance)
