"""What every peer offers: a third-party library that does the nearest equivalent of our scoring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from transformers import PreTrainedModel

from gradshield.data.tokenization import TokenizedExample
from gradshield.probes.direction import Direction


class Peer(Protocol):
    """A library that multiplies the gradient of every example by one direction."""

    @property
    def name(self) -> str:
        """The peer's name in `PEERS`."""
        ...

    @property
    def package(self) -> str:
        """The name of its distribution, by which its version is known."""
        ...

    @property
    def computes(self) -> str:
        """What is computed, and how it compares with FIHS."""
        ...

    @property
    def comparable_values(self) -> bool:
        """Whether the values should rank examples as the oracle does."""
        ...

    def scores(
        self, model: PreTrainedModel, direction: Direction, examples: Sequence[TokenizedExample]
    ) -> list[float]:
        """Estimate the FIHS of examples under the `sum` reduction, from scratch.

        Args:
            model: A causal language model in evaluation mode, the same before and after.
            direction: g, by names of `nn.Linear` layers.
            examples: At least one.

        Returns:
            A score for each example, in the order given.

        Raises:
            ImportError: The library is not installed.
        """
        ...
