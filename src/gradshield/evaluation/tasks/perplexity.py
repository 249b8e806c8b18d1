"""Held-out perplexity: how well the model predicts the responses of any rows."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from gradshield.data import (
    DataError,
    Rejection,
    SourceRow,
    TokenizedExample,
    detect_format,
    open_container,
    tokenize_rows,
)
from gradshield.errors import UserError
from gradshield.evaluation.tasks.base import ItemResult, TaskItem, weighted_mean
from gradshield.evaluation.tasks.rows import check_distinct
from gradshield.models.likelihood import response_token_losses
from gradshield.models.load import LoadedModel
from gradshield.scoring.batching import batches_by_length

MAX_LENGTH = 2048
"""Tokens of a row at most; longer ones are cut as for scoring."""


@dataclass(frozen=True)
class Perplexity:
    """Perplexity of response tokens of the user's rows, in any format that data files may have."""

    name: str = "perplexity"
    metric: str = "perplexity"
    higher_is_better: bool = False

    def items(self, source: Path) -> list[TaskItem]:
        """The rows of a data file; each item holds its whole row, as JSON, in `context`.

        Raises:
            UserError: The source is no data file, or a row cannot be used.
        """
        try:
            rows = open_container(source).read(source)
        except DataError as fault:
            raise UserError(f"Perplexity is taken on one data file of yours: {fault}.") from fault
        read = detect_format(rows).to_conversation
        for row in rows:
            if row.value is None:
                raise UserError(f"{source}, {row.place} cannot be read ({row.error}): mend it.")
            try:
                read(row.value)
            except Rejection as rejection:
                raise _unusable(f"{source}, {row.place}", rejection) from rejection
        items = [_item(row) for row in rows]
        check_distinct(source, [item.id for item in items])
        return items

    def measure(
        self, loaded: LoadedModel, items: Sequence[TaskItem], progress: Callable[[int], None]
    ) -> list[ItemResult]:
        """Mean loss of each item's response tokens in nats, weighted by their number.

        Raises:
            UserError: A row has no response token for this model's tokenizer and template.
        """
        rows = [
            SourceRow(place, None, json.loads(item.context)) for place, item in enumerate(items)
        ]
        examples, rejections, _ = tokenize_rows(rows, loaded.tokenizer, max_length=MAX_LENGTH)
        for place, rejection in rejections.items():
            raise _unusable(f"The held-out row {items[place].id}", rejection)
        nats = _nats(loaded, examples, progress)
        return [
            ItemResult(items[e.row].id, nats[e.row], "", "", weight=e.response_tokens)
            for e in examples
        ]

    def summarise(self, results: Sequence[ItemResult]) -> float:
        """exp(total nats / total response tokens), at least 1."""
        return math.exp(weighted_mean(results))


def _item(row: SourceRow) -> TaskItem:
    own = row.own_id
    item_id = str(row.position if own is None else own)
    return TaskItem(item_id, prompt="", target="", context=json.dumps(row.value, default=str))


def _unusable(place: str, rejection: Rejection) -> UserError:
    return UserError(f"{place} cannot be used ({rejection}): mend the row, or take it out.")


@torch.inference_mode()
def _nats(
    loaded: LoadedModel, examples: Sequence[TokenizedExample], progress: Callable[[int], None]
) -> dict[int, float]:
    """Mean loss of response tokens, by row."""
    nats: dict[int, float] = {}
    for batch in batches_by_length(examples):
        losses = response_token_losses(loaded.model, batch)
        for example, loss in zip(batch, losses, strict=True):
            nats[example.row] = float(loss.mean())
        progress(len(batch))
    return nats


PERPLEXITY = Perplexity()
