"""A serving engine as executor: this process asks, the engine computes; no weights are loaded here.

See `gradshield.scoring.served`. The direction is measured beforehand, by `gradshield direction
measure`, where the model can be differentiated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gradshield.errors import UserError
from gradshield.probes.export import ExportRecord, read_export
from gradshield.progress import Progress
from gradshield.scoring.executors.base import Work, score_here
from gradshield.scoring.parts import Part
from gradshield.scoring.served import ServedModel


@dataclass(frozen=True)
class ServedExecutor:
    """An OpenAI-compatible endpoint that serves the two adapters of the direction.

    Attributes:
        endpoint: URL of the API, such as `http://localhost:8000/v1`.
        adapters: The folder that `gradshield direction export` wrote.
        names: The endpoint's names of the two adapters, above and below.
        key_variable: Environment variable that holds the API key, if it needs one.
        concurrency: Rows under way at once.
    """

    endpoint: str | None = None
    adapters: Path | None = None
    names: tuple[str, str] = ("above", "below")
    key_variable: str | None = None
    concurrency: int = 32
    name: str = "served"

    def check(self) -> None:
        """See `Executor.check`: the endpoint has to be there and to know the adapters."""
        self.model().check()

    def export(self) -> ExportRecord:
        """What is known of the adapters.

        Raises:
            UserError: They were not written by `gradshield direction export`.
        """
        if self.adapters is None:
            raise UserError(
                "--executor served needs --adapters: the folder that `gradshield direction export "
                "RUN --out FOLDER` wrote, of which the endpoint serves both adapters."
            )
        return read_export(self.adapters)

    def model(self) -> ServedModel:
        """The endpoint, to be asked.

        Raises:
            UserError: An option is missing, or see `export`.
        """
        if self.endpoint is None:
            raise UserError("--executor served needs --endpoint, such as http://localhost:8000/v1.")
        above, below = self.names
        return ServedModel(
            self.endpoint,
            above,
            below,
            self.export().step,
            key_variable=self.key_variable,
            concurrency=self.concurrency,
        )

    def run(self, work: Work, parts: Sequence[Part], progress: Progress) -> None:
        """See `Executor.run`."""
        score_here(work, parts, progress)
