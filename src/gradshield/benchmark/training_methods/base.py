"""What every way to finetune offers: a model that is trained in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gradshield.data import TokenizedExample
from gradshield.filters.base import Material, Need
from gradshield.finetuning.supervised import TrainingSettings
from gradshield.models.load import LoadedModel


class TrainingMethod(Protocol):
    """A way to finetune.

    All methods take the rows in the same batches, with the same optimiser and rates, so what
    differs between two of them is the method. Their fields decide what they do, so the `repr` of a
    method tells it from others in a cache.
    """

    @property
    def name(self) -> str:
        """The method's name in `TRAINING_METHODS`."""
        ...

    @property
    def needs(self) -> frozenset[Need]:
        """What `Material` must hold for it."""
        ...

    def finetune(
        self,
        loaded: LoadedModel,
        examples: Sequence[TokenizedExample],
        training: TrainingSettings,
        material: Material,
    ) -> None:
        """Finetune a model in place, an adapter merged, as `finetuning.supervised.finetune` does.

        Args:
            loaded: The model to train; wrap the call in `weights_restored` to have it back.
            examples: Rows of the task.
            training: How to train; its seed is the only one that counts.
            material: What the method may use beside the rows; told of progress. Its own model is
                not looked at.

        Raises:
            ValueError: The material lacks what the method needs.
            UserError: TRL is not installed, or the training diverges.
        """
        ...
