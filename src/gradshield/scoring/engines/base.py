"""What every scoring engine offers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor
from transformers import PreTrainedModel

from gradshield.data.tokenization import TokenizedExample
from gradshield.probes.direction import Direction

Reduction = Literal["sum_and_worst", "worst_window", "worst_tokens", "sum", "mean", "root"]
DEFAULT_REDUCTION: Reduction = "sum_and_worst"
WINDOW = 24
"""Response tokens of a window, a sentence or two (docs/decisions/0007)."""


def divisor(reduction: Reduction, response_tokens: int) -> float:
    """By what the summed loss of the response tokens is divided to give l(z).

    `sum` is what a row adds to a batch whose loss is averaged over tokens, as today's trainers do.
    `mean` exaggerates short answers; `root`, the square root of the number of response tokens,
    lies between: were tokens independent, the spread of scores would not depend on the length.
    The others choose among the tokens instead, see `reduced`.
    """
    powers = {"mean": 1.0, "root": 0.5}
    return float(response_tokens ** powers.get(reduction, 0.0))


def reduced(tokens: Tensor, reduction: Reduction) -> float:
    """The score that the contributions of the response tokens, [response tokens], make up.

    `worst_window` is the largest sum over `WINDOW` tokens side by side: a harmful turn cannot hide
    behind harmless text before or after it. A shorter response is one window. `sum_and_worst` adds
    it to the sum, so that its tokens count twice. `worst_tokens` is the largest sum over any of the
    tokens, wherever they stand: all that harm, and nothing that others make up for.
    """
    total = float(counted(tokens, reduction).sum())
    if reduction not in ("sum_and_worst", "worst_window"):
        return total
    long = len(tokens) > WINDOW
    worst = float(tokens.unfold(0, WINDOW, 1).sum(dim=1).max()) if long else total
    return worst if reduction == "worst_window" else total + worst


def counted(tokens: Tensor, reduction: Reduction) -> Tensor:
    """What a score counts of each contribution, same shape."""
    return tokens.clamp(min=0) if reduction == "worst_tokens" else tokens


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
        token_fihs: What each response token adds to the derivative, see `reduced`; None where the
            engine does not see tokens. Such an engine gives their sum, whichever tokens are to be
            chosen.
    """

    row: int
    fihs: float
    loss: float
    token_fihs: tuple[float, ...] | None = None

    @classmethod
    def of_tokens(cls, row: int, tokens: Tensor, loss: float, reduction: Reduction) -> ExampleScore:
        """The score of the contributions of the response tokens, [response tokens]."""
        return cls(row, reduced(tokens, reduction), loss, tuple(tokens.tolist()))


ScoreBatch = Callable[[Sequence[TokenizedExample]], list[ExampleScore]]
"""Scores a batch, in its order. The model is the same before and after."""


@dataclass(frozen=True)
class PreparedEngine:
    """An engine made ready for one model and one direction.

    Attributes:
        score: Scores a batch.
        notes: What was chosen, and why, a line each.
        warning: What must not be missed, or None.
        step: Length in parameter space of the step of finite differences, None for other engines.
    """

    score: ScoreBatch
    notes: tuple[str, ...] = ()
    warning: str | None = None
    step: float | None = None


class Engine(Protocol):
    """A way to compute FIHS(z) = -<grad l(z), g> / |g|; all engines agree up to rounding."""

    @property
    def name(self) -> str:
        """The engine's name in `ENGINES`."""
        ...

    def prepare(
        self,
        model: PreTrainedModel,
        direction: Direction,
        reduction: Reduction,
        sample: Sequence[TokenizedExample],
    ) -> PreparedEngine:
        """Make ready for a model and a direction.

        Args:
            model: The aligned model theta_0, in evaluation mode.
            direction: g, the gradient of the safety proxy.
            reduction: What l(z) is of its response tokens' losses.
            sample: Examples on which the engine may choose what it has to choose.

        Raises:
            UserError: The engine cannot serve this model.
        """
        ...
