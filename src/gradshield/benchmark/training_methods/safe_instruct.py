"""SafeInstruct: refusals of harmful prompts mixed into the rows (Bianchi et al. 2024).

"Safety-Tuned LLaMAs: Lessons From Improving the Safety of Large Language Models that Follow
Instructions", arXiv 2309.07875. Everything else is plain finetuning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradshield.data import TokenizedExample
from gradshield.filters.base import Material, Need
from gradshield.finetuning.supervised import TrainingSettings, finetune
from gradshield.models.load import LoadedModel

SHARE = 0.1
"""Refusals per row of the task.

The released mixtures hold 100 to 2,000 for 20,000 harmless rows, and the abstract calls 3 % enough
for those. Rows of which some are harmful want more, so this is the largest of the mixtures.
"""


@dataclass(frozen=True)
class SafeInstruct:
    """Adds refusals to the rows.

    Attributes:
        share: Refusals that are added per row of the task.
    """

    share: float = SHARE
    name: str = "safe_instruct"
    needs: frozenset[Need] = frozenset({Need.REFUSALS})

    def finetune(
        self,
        loaded: LoadedModel,
        examples: Sequence[TokenizedExample],
        training: TrainingSettings,
        material: Material,
    ) -> None:
        """Train on the rows and the refusals, mixed in every epoch; see `TrainingMethod`."""
        mixed = [*examples, *self.refusals(len(examples), material, training.seed)]
        finetune(loaded.model, loaded.tokenizer, mixed, training, progress=material.progress)

    def refusals(self, rows: int, material: Material, seed: int) -> list[TokenizedExample]:
        """Refusals for a number of rows, drawn at random; none twice before all came once.

        Raises:
            ValueError: The material has no refusals.
        """
        if not material.refused:
            raise ValueError("SafeInstruct needs refusals to mix in: Material(refused=...).")
        generator = np.random.default_rng(seed)
        order: list[int] = []
        while len(order) < round(self.share * rows):
            order += generator.permutation(len(material.refused)).tolist()
        return [material.refused[place].example for place in order[: round(self.share * rows)]]
