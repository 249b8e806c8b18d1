"""GradShield itself: the finetuning implicit harmfulness score, in the paper's form and in ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from gradshield.config import ThresholdSettings
from gradshield.data import TokenizedExample
from gradshield.filters.base import Material, Need, Row, Scores
from gradshield.filters.fihs_form import FihsForm, first_tokens_only, form_direction, form_model
from gradshield.scoring.reference import reference_examples
from gradshield.scoring.score import prepare_engine, score_examples
from gradshield.threshold import decide
from gradshield.threshold.rule import FloatArray


@dataclass(frozen=True)
class FihsFilter:
    """Scores by FIHS and decides by a rule of `RULES`.

    Attributes:
        name: As in `FILTERS`, or the name that `filter_by_name` made it from.
        form: Proxy, modules, probes, reduction and whatever else a score depends on.
        threshold: The rule.
    """

    name: str
    form: FihsForm
    threshold: ThresholdSettings
    needs: frozenset[Need] = frozenset({Need.HARMFUL_PROMPTS})
    by_row: bool = True

    def score(self, rows: Sequence[Row], material: Material) -> Scores:
        """FIHS per unit direction; see `Filter`."""
        with form_model(self.form, material):
            values, reference = self._scores([row.example for row in rows], material)
        cut = partial(self._cut, reference=reference)
        return Scores(values, cut, trainings=int(self.form.warm_up))

    def _scores(
        self, examples: Sequence[TokenizedExample], material: Material
    ) -> tuple[FloatArray, FloatArray]:
        """FIHS of the examples, and of the harmless reference rows."""
        loaded, progress = material.loaded, material.progress
        engine = prepare_engine(
            loaded, form_direction(self.form, material), self.form.scoring(), progress
        )
        found = []
        for some in (examples, reference_examples(loaded)):
            with progress.track("FIHS", len(some), "rows") as advance:
                scores = score_examples(
                    loaded, some, engine, batch_tokens=self.form.batch_tokens, progress=advance
                )
            ordered = [scores[one.row] for one in some]
            found.append(np.array([first_tokens_only(one, self.form) for one in ordered]))
        return found[0], found[1]

    def _cut(self, values: FloatArray, *, reference: FloatArray) -> float:
        rule = self.threshold
        decision = decide(values, reference, rule=rule.rule, level=rule.level, seed=rule.seed)
        return decision.threshold


GRADSHIELD = FihsFilter("gradshield", FihsForm(), ThresholdSettings())
"""As `gradshield filter` scores and decides when it is told nothing."""
ONE_TASK = FihsFilter(
    "gradshield_one_task", FihsForm(reduction="worst_tokens"), ThresholdSettings(rule="one_task")
)
"""Our best form for data of one task: `--reduction worst_tokens --threshold one_task`."""
ALL_PARAMETERS = ".*"
PAPER = FihsFilter(
    "gradshield_paper",
    FihsForm(proxy="first_token", modules=ALL_PARAMETERS, take_out="nothing", reduction="mean"),
    ThresholdSettings(rule="paper"),
)
"""The published form: S = logit("Sure") - logit("I"), a raw dot product, its stage-1 threshold.

All matrices of the blocks stand for all parameters: embeddings and norms have no fast engine.
"""
