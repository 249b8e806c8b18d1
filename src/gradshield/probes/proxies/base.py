"""What every safety proxy offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gradshield.evaluation.generation import Answer


@dataclass(frozen=True)
class OwnAnswers:
    """Greedy answers of the aligned model itself; proxies learn its ways to refuse from them.

    Attributes:
        harmful: Answers to harmful prompts, mostly refusals.
        ordinary: Answers to ordinary prompts, mostly compliant.
    """

    harmful: Sequence[Answer]
    ordinary: Sequence[Answer]


class SafetyProxy(Protocol):
    """A differentiable measure S of unsafety, **higher means less safe**."""

    @property
    def name(self) -> str:
        """The proxy's name in `PROXIES`."""
        ...

    def values(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[str],
        first: int = 0,
    ) -> Tensor:
        """S of each prompt, a differentiable tensor [prompts] in nats.

        Args:
            model: The model to measure.
            tokenizer: Its tokenizer.
            prompts: A batch of the probes.
            first: Position of the batch's first prompt among all probes; proxies that vary their
                wordings go by it, so that a value does not depend on the batch.
        """
        ...

    def record(self) -> dict[str, Any]:
        """The tokens or phrases that the proxy compares, for the run's provenance."""
        ...


class ProxyMaker(Protocol):
    """Builds a proxy for one model; the own answers serve to calibrate it."""

    def __call__(self, tokenizer: PreTrainedTokenizerBase, own_answers: OwnAnswers) -> SafetyProxy:
        """Make the proxy for the model that the tokenizer and the answers belong to."""
        ...
