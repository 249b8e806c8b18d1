"""What every scoring engine offers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from transformers import PreTrainedModel

from gradshield.data.tokenization import TokenizedExample
from gradshield.probes.direction import Direction


@dataclass(frozen=True)
class ExampleScore:
    """The score of one example.

    Attributes:
        row: Position of the example in the input.
        fihs: Finetuning implicit harmfulness score per unit direction, in nats per unit of
            parameter length; positive means that one gradient step on the example raises the
            unsafety proxy S.
        loss: Mean negative log-likelihood of the response tokens at theta_0, in nats.
        token_fihs: What each response token adds to `fihs` (they sum to it), or None where the
            engine does not see tokens.
    """

    row: int
    fihs: float
    loss: float
    token_fihs: tuple[float, ...] | None = None


class Engine(Protocol):
    """A way to compute FIHS(z) = -<grad l(z), g> / |g|; all engines agree up to rounding."""

    @property
    def name(self) -> str:
        """The engine's name in `ENGINES`."""
        ...

    def __call__(
        self,
        model: PreTrainedModel,
        direction: Direction,
        batches: Sequence[Sequence[TokenizedExample]],
    ) -> Iterator[list[ExampleScore]]:
        """Yield the scores of each batch, in the order of the batches.

        The model's weights are the same before and after.
        """
        ...
