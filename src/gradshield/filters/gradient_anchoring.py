"""Bidirectional gradient anchoring: which rows step towards harmful rows and away from safe ones.

He et al. 2024, "What's in Your 'Safe' Data? Identifying Benign Data that Breaks Safety", arXiv
2404.01099. The anchor of a set is the mean of its rows' unit gradients, not made a unit again; a
row scores by the inner products of its own unit gradient with the anchors. That is linear in the
anchors, so they are added up beforehand and one backward pass a row is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from gradshield.data.tokenization import TokenizedExample
from gradshield.filters.base import Material, Need, Row, Scores, top_share
from gradshield.filters.gradient_norm import length
from gradshield.models.layers import block_weights
from gradshield.probes.prompt_sets import spread
from gradshield.scoring.engines.per_example import example_gradient, inner_product

ANCHOR_ROWS = 10
ANCHOR_TOKENS = 10
"""Rows of an anchor, and the response tokens that its loss is taken of: the paper's."""
REMOVED_SHARE = 0.2
SHORTEST = 1e-30
"""Stands for the length of a gradient that is zero, so that such a row scores zero."""


@dataclass(frozen=True)
class GradientAnchoring:
    """<unit gradient, anchor of harmful - anchor of refused - anchor of harmless rows>.

    The paper's weights are 1, -1 and -1 too, but both of its safe anchors are safe rows made for
    the harmful ones; here one is the refusals of the harmful prompts, the other harmless rows.

    Attributes:
        anchor_rows: Rows of each anchor, spread evenly over those of the material.
        anchor_tokens: Leading response tokens that an anchor's loss is taken of; None for all.
        candidate_tokens: Likewise, of the rows that are scored. The released code sets no limit.
    """

    anchor_rows: int = ANCHOR_ROWS
    anchor_tokens: int | None = ANCHOR_TOKENS
    candidate_tokens: int | None = None
    name: str = "gradient_anchoring"
    needs: frozenset[Need] = frozenset({Need.HARMFUL_ANSWERS, Need.REFUSALS, Need.HARMLESS_ROWS})
    by_row: bool = True

    def score(self, rows: Sequence[Row], material: Material) -> Scores:
        """Sum of three cosine-like terms, within [-3, 3]; see `Filter`.

        The highest fifth is removed: the paper takes the first 100 rows of large data sets, and
        has no threshold. The released code takes the gradient of all parameters; here it is that
        of all block weights.
        """
        model = material.loaded.model
        names = list(block_weights(model))
        anchors = self._combined_anchors(names, material)
        values = np.empty(len(rows))
        with material.progress.track("Gradients", len(rows), "rows") as advance:
            for place, row in enumerate(rows):
                example = first_response_tokens(row.example, self.candidate_tokens)
                gradients, _ = example_gradient(model, names, example, "mean")
                product = float(inner_product(gradients, anchors))
                values[place] = product / max(length(gradients), SHORTEST)
                advance(1)
        return Scores(values, top_share(REMOVED_SHARE))

    def _combined_anchors(self, names: Sequence[str], material: Material) -> list[Tensor]:
        """The weighted sum of the anchors by named weight, in float32."""
        sets = ((1.0, material.harmful), (-1.0, material.refused), (-1.0, material.harmless))
        if not all(rows for _, rows in sets):
            raise ValueError(
                "Gradient anchoring needs rows of three kinds: Material(harmful=..., "
                "refused=..., harmless=...)."
            )
        shares = [
            (weight / min(len(rows), self.anchor_rows), row)
            for weight, rows in sets
            for row in spread(rows, self.anchor_rows)
        ]
        return self._weighted_unit_gradients(names, shares, material)

    def _weighted_unit_gradients(
        self, names: Sequence[str], shares: Sequence[tuple[float, Row]], material: Material
    ) -> list[Tensor]:
        model = material.loaded.model
        total: list[Tensor] = []
        with material.progress.track("Anchors", len(shares), "rows") as advance:
            for share, row in shares:
                example = first_response_tokens(row.example, self.anchor_tokens)
                gradients, _ = example_gradient(model, names, example, "mean")
                total = total or [torch.zeros_like(part).float() for part in gradients]
                scale = share / max(length(gradients), SHORTEST)
                for part, gradient in zip(total, gradients, strict=True):
                    part.add_(gradient, alpha=scale)
                advance(1)
        return total


def first_response_tokens(example: TokenizedExample, count: int | None) -> TokenizedExample:
    """The example up to its response token number `count`; whole if it has no more, or for None."""
    if count is None or example.response_tokens <= count:
        return example
    places = [place for place, wanted in enumerate(example.response_mask) if wanted]
    end = places[count - 1] + 1
    return replace(
        example,
        input_ids=example.input_ids[:end],
        response_mask=example.response_mask[:end],
        truncated=True,
    )
