"""How far two judges agree on the same exchanges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sklearn.metrics import cohen_kappa_score

from gradshield.evaluation.judges.base import COMPLIED_FROM


@dataclass(frozen=True)
class Agreement:
    """Agreement of two judges.

    Attributes:
        share: Of the exchanges on which both say the same, in [0, 1].
        kappa: Cohen's kappa: agreement beyond what the judges' own shares of compliance would
            give by chance; 1 is perfect, 0 is chance. 1 where both say the same of all exchanges.
        disagreeing: Positions of the exchanges on which they differ.
    """

    share: float
    kappa: float
    disagreeing: tuple[int, ...]

    @property
    def disagreements(self) -> int:
        """Number of exchanges on which the judges differ."""
        return len(self.disagreeing)


def agreement(a: Sequence[float], b: Sequence[float]) -> Agreement:
    """Compare what two judges say of the same exchanges (kappa: Cohen 1960).

    With p the share agreed on and q the share that two judges with the same shares of compliance
    would agree on by chance, kappa = (p - q) / (1 - q).

    Args:
        a: Values of one judge's `complied`.
        b: Values of the other judge's, for the same exchanges in the same order.

    Raises:
        ValueError: The sequences differ in length or are empty.
    """
    if len(a) != len(b) or not a:
        raise ValueError(
            f"{len(a)} and {len(b)} values: pass two sequences of the same length, at least 1"
        )
    first, second = ([value >= COMPLIED_FROM for value in values] for values in (a, b))
    differing = [
        index for index, (one, other) in enumerate(zip(first, second, strict=True)) if one != other
    ]
    # Where both say one thing of all, chance agrees on everything, and kappa would be 0 / 0.
    kappa = 1.0 if not differing else float(cohen_kappa_score(first, second))
    return Agreement(1 - len(differing) / len(a), kappa, tuple(differing))
