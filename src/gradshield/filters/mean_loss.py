"""Mean loss of the response: the log of a row's perplexity under the aligned model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gradshield.filters.base import Material, Need, Row, Scores, top_share
from gradshield.models.likelihood import response_token_losses
from gradshield.scoring.batching import batches_by_length
from gradshield.threshold.rule import FloatArray

REMOVED_SHARE = 0.2


@dataclass(frozen=True)
class MeanLoss:
    """What the aligned model would hardly say itself counts as harmful."""

    name: str = "mean_loss"
    needs: frozenset[Need] = frozenset()
    by_row: bool = True

    def score(self, rows: Sequence[Row], material: Material) -> Scores:
        """Mean negative log-likelihood of the response tokens, in nats; see `Filter`.

        The highest fifth is removed: perplexity filters have no threshold of their own.
        """
        values = mean_losses(rows, material)
        return Scores(values, top_share(REMOVED_SHARE))


@torch.inference_mode()
def mean_losses(rows: Sequence[Row], material: Material) -> FloatArray:
    """Mean loss of a response token of every row, in nats, [rows]."""
    values = np.empty(len(rows))
    with material.progress.track("Losses", len(rows), "rows") as advance:
        for batch in batches_by_length([row.example for row in rows]):
            losses = response_token_losses(material.loaded.model, batch)
            for example, tokens in zip(batch, losses, strict=True):
                values[example.row] = float(tokens.mean())
            advance(len(batch))
    return values
