"""What every scoring engine offers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from transformers import PreTrainedModel

from gradshield.data.tokenization import TokenizedExample
from gradshield.probes.direction import Direction

Reduction = Literal["mean", "sum", "root"]
DEFAULT_REDUCTION: Reduction = "sum"


def divisor(reduction: Reduction, response_tokens: int) -> float:
    """By what the summed loss of the response tokens is divided to give l(z).

    `sum` is what a row adds to a batch whose loss is averaged over tokens, as today's trainers do.
    `mean` exaggerates short answers; `root`, the square root of the number of response tokens,
    lies between: were tokens independent, the spread of scores would not depend on the length.
    """
    powers = {"mean": 1.0, "root": 0.5, "sum": 0.0}
    return float(response_tokens ** powers[reduction])


@dataclass(frozen=True)
class ExampleScore:
    """The score of one example.

    Attributes:
        row: Position of the example in the input.
        fihs: Finetuning implicit harmfulness score per unit direction, in nats per unit of
            parameter length; positive means that one gradient step on the example raises the
            unsafety proxy S.
        loss: Mean negative log-likelihood of the response tokens at theta_0, in nats, whatever
            the reduction.
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
        reduction: Reduction = DEFAULT_REDUCTION,
    ) -> Iterator[list[ExampleScore]]:
        """Yield the scores of each batch, in the order of the batches.

        The model's weights are the same before and after.
        """
        ...
