"""Plain supervised finetuning, with no defence in the training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gradshield.data import TokenizedExample
from gradshield.filters.base import Material, Need
from gradshield.finetuning.supervised import TrainingSettings
from gradshield.finetuning.trial import finetune_plainly
from gradshield.models.load import LoadedModel


@dataclass(frozen=True)
class Plain:
    """What every filter is followed by."""

    name: str = "plain"
    needs: frozenset[Need] = frozenset()

    def finetune(
        self,
        loaded: LoadedModel,
        examples: Sequence[TokenizedExample],
        training: TrainingSettings,
        material: Material,
    ) -> None:
        """Train on the rows and nothing else; see `TrainingMethod`."""
        finetune_plainly(loaded, examples, training, material.progress)
