"""The score table: one line for every input row, scored or rejected."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gradshield.data.pairs import TokenizedPair
from gradshield.data.tokenization import TokenizedExample
from gradshield.files import written_whole
from gradshield.scoring.engines.base import ExampleScore

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("id", pa.string()),
        ("fihs", pa.float64()),
        ("loss", pa.float64()),
        ("response_tokens", pa.int64()),
        ("truncated", pa.bool_()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("token_ids", pa.list_(pa.int32())),
        ("token_fihs", pa.list_(pa.float64())),
        ("chosen_tokens", pa.int64()),
    ]
)
"""`fihs` is per unit direction, in nats per unit of parameter length; positive means harmful; null
when the row was rejected. `loss` is the mean loss of the response tokens in nats. `token_ids` are
the response tokens, `response_tokens` of them, and `token_fihs` what each adds.

Of a preference row, `fihs` is that of the preference loss (see `scoring.preference`) and `loss` the
mean loss of the chosen answer: the loss of DPO before training is ln 2 for every row.
`response_tokens` counts those of both answers; in the lists the first `chosen_tokens` are the
chosen answer's and the others the rejected one's, whose share has its sign in the loss: positive
means harmful there, too. `chosen_tokens` is null for plain rows."""

FIHS_MEANING = (
    "FIHS is, to first order, how much one gradient step on a row alone would raise the unsafety "
    "proxy of this model on held-out harmful prompts, per unit direction. Positive scores push "
    "towards answering harmful prompts, negative ones towards refusing them. It is no verdict on "
    "the text: a row can be vile and teach refusal, or look harmless and erode it."
)

NON_FINITE = (
    "non_finite_score: the loss or the score overflowed; use --dtype float32 for this model"
)


def scored_line(
    scored: TokenizedExample | TokenizedPair, score: ExampleScore, own_id: str | int | None
) -> dict[str, Any]:
    """One line of the table for a scored row; a non-finite score is a rejection."""
    if not (math.isfinite(score.fihs) and math.isfinite(score.loss)):
        return rejected_line(scored.row, own_id, NON_FINITE)
    answers = (scored.chosen, scored.rejected) if isinstance(scored, TokenizedPair) else (scored,)
    return {
        "row": scored.row,
        "id": None if own_id is None else str(own_id),
        "fihs": score.fihs,
        "loss": score.loss,
        "response_tokens": scored.response_tokens,
        "truncated": scored.truncated,
        "status": "scored",
        "reason": None,
        "token_ids": [
            token
            for answer in answers
            for token, is_response in zip(answer.input_ids, answer.response_mask, strict=True)
            if is_response
        ],
        "token_fihs": None if score.token_fihs is None else list(score.token_fihs),
        "chosen_tokens": answers[0].response_tokens if len(answers) > 1 else None,
    }


def rejected_line(row: int, own_id: str | int | None, reason: str) -> dict[str, Any]:
    """One line of the table for a row that could not be scored."""
    absent = dict.fromkeys(SCHEMA.names)
    return {
        **absent,
        "row": row,
        "id": None if own_id is None else str(own_id),
        "status": "rejected",
        "reason": reason,
    }


def write_part(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write lines, sorted by row, as one parquet file, whole or not at all."""
    in_order = sorted(lines, key=lambda line: line["row"])
    with written_whole(path) as draft:
        pq.write_table(pa.Table.from_pylist(in_order, schema=SCHEMA), draft)


def read_table(folder: Path) -> list[dict[str, Any]]:
    """Read all parts of a score table, sorted by row."""
    lines: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.parquet")):
        lines += pq.read_table(path, schema=SCHEMA).to_pylist()
    return sorted(lines, key=lambda line: line["row"])
