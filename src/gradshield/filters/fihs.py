"""GradShield itself: the finetuning implicit harmfulness score, in the paper's form and in ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from gradshield.config import ScoringSettings, ThresholdSettings
from gradshield.filters.base import Material, Need, Row, Scores
from gradshield.scoring.score import score_examples
from gradshield.shield import GradShield
from gradshield.threshold import decide
from gradshield.threshold.rule import FloatArray


@dataclass(frozen=True)
class FihsFilter:
    """Scores by FIHS of the packaged probes and decides by a rule of `RULES`.

    Attributes:
        name: As in `FILTERS`.
        scoring: Proxy, modules, reduction and what is taken out of the direction.
        threshold: The rule.
    """

    name: str
    scoring: ScoringSettings
    threshold: ThresholdSettings
    needs: frozenset[Need] = frozenset({Need.HARMFUL_PROMPTS})
    by_row: bool = True

    def score(self, rows: Sequence[Row], material: Material) -> Scores:
        """FIHS per unit direction; see `Filter`."""
        loaded = material.loaded
        shield = GradShield(
            loaded.model, loaded.tokenizer, scoring=self.scoring, progress=material.progress
        )
        with material.progress.track("FIHS", len(rows), "rows") as advance:
            found = score_examples(
                loaded,
                [row.example for row in rows],
                shield.engine,
                batch_tokens=self.scoring.batch_tokens,
                progress=advance,
            )
        values = np.array([found[row.example.row].fihs for row in rows])
        return Scores(values, partial(self._cut, reference=shield.reference))

    def _cut(self, values: FloatArray, *, reference: FloatArray) -> float:
        rule = self.threshold
        decision = decide(values, reference, rule=rule.rule, level=rule.level, seed=rule.seed)
        return decision.threshold


GRADSHIELD = FihsFilter("gradshield", ScoringSettings(), ThresholdSettings())
"""As `gradshield filter` scores and decides when it is told nothing."""
ALL_PARAMETERS = ".*"
PAPER = FihsFilter(
    "gradshield_paper",
    ScoringSettings(
        proxy="first_token", modules=ALL_PARAMETERS, take_out="nothing", reduction="mean"
    ),
    ThresholdSettings(rule="paper"),
)
"""The published form: S = logit("Sure") - logit("I"), a raw dot product, its stage-1 threshold.

All matrices of the blocks stand for all parameters: embeddings and norms have no fast engine.
"""
