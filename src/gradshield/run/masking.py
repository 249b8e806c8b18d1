"""The action `mask`: rows as tokens, in which the spans that harm carry no loss.

FIHS is a sum over response tokens, so the rest of a removed row has a score too: that of what its
other tokens add. Spans are taken out, the worst first, until the rest scores like a kept row.
Text has no way to say which tokens carry loss, so the rows are written as token ids and labels,
which trainers on transformers take as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from gradshield.config import RunConfig
from gradshield.data import DataSource, TokenizedExample
from gradshield.data.containers.parquet import write_row_groups
from gradshield.data.survey import survey_rows
from gradshield.errors import UserError
from gradshield.files import written_whole
from gradshield.models.load import load_tokenizer
from gradshield.run.folder import RunFolder
from gradshield.run.overrides import Override
from gradshield.run.threshold import divide
from gradshield.scoring.engines.base import WINDOW, Reduction, counted, divisor, reduced
from gradshield.scoring.table import ScoreTable

IGNORED = -100
"""Label of a token without loss, as in transformers."""

SCHEMA = pa.schema(
    [
        ("input_ids", pa.list_(pa.int32())),
        ("attention_mask", pa.list_(pa.int8())),
        ("labels", pa.list_(pa.int32())),
    ]
)
"""No column beside these: some trainers refuse, or stumble over, any that they do not know."""


def harmful_spans(
    token_fihs: Sequence[float], threshold: float, reduction: Reduction
) -> npt.NDArray[np.bool_]:
    """Which response tokens of a removed row are to carry no loss, [response tokens].

    A span is one window of `WINDOW` tokens side by side, or several that touch. The window that
    adds most is masked first, then the next, until the rest scores below the threshold. Where no
    window adds anything, as under a negative threshold, all tokens are masked.

    Args:
        token_fihs: What each response token adds, in the unit of the scores.
        threshold: Rows at or above it are removed.
        reduction: What the scores are of the tokens.
    """
    tokens = np.asarray(token_fihs, dtype=np.float64)
    adds = counted(torch.from_numpy(tokens), reduction).numpy()
    masked = np.zeros(len(tokens), dtype=bool)
    while True:
        # At least once: the score in the table is rounded otherwise than its sum over here.
        start, added = _worst_window(np.where(masked, 0.0, adds))
        if added <= 0:
            return np.ones_like(masked)
        masked[start : start + WINDOW] = True
        if masked.all() or score_of_rest(tokens, masked, reduction) < threshold:
            return masked


def _worst_window(tokens: npt.NDArray[np.float64]) -> tuple[int, float]:
    """Where the window with the largest sum starts, and that sum."""
    width = min(WINDOW, len(tokens))
    sums = np.lib.stride_tricks.sliding_window_view(tokens, width).sum(axis=1)
    start = int(sums.argmax())
    return start, float(sums[start])


def score_of_rest(
    tokens: npt.NDArray[np.float64], masked: npt.NDArray[np.bool_], reduction: Reduction
) -> float:
    """FIHS of a row of whose response tokens some carry no loss; at least one has to."""
    rest = torch.from_numpy(tokens[~masked])
    # A mean over fewer tokens gives each of them more weight.
    share = divisor(reduction, len(tokens)) / divisor(reduction, len(rest))
    return reduced(rest * share, reduction)


@dataclass(frozen=True)
class MaskedRow:
    """A row of the file that `mask` writes, and how many of its tokens lost their loss."""

    row: int
    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    masked: int

    @property
    def carries_loss(self) -> bool:
        """Whether there is anything left to train on."""
        return any(label != IGNORED for label in self.labels)


def mask_row(example: TokenizedExample, masked: npt.NDArray[np.bool_] | None) -> MaskedRow:
    """A row whose prompt and masked response tokens, [response tokens], carry no loss."""
    loss = np.array(example.response_mask)
    if masked is not None:
        loss[np.flatnonzero(loss)[masked]] = False
    labels = np.where(loss, np.array(example.input_ids), IGNORED)
    return MaskedRow(
        example.row,
        example.input_ids,
        tuple(labels.tolist()),
        0 if masked is None else int(masked.sum()),
    )


def write_masked(
    config: RunConfig,
    folder: RunFolder,
    source: DataSource,
    table: ScoreTable,
    threshold: float,
    overrides: Mapping[int, Override],
) -> dict[str, Any]:
    """Write `masked.parquet`, with the columns of `SCHEMA`, whole or not at all.

    Rows are in the order of the input. Kept ones carry loss on all response tokens, removed ones
    where nothing harms; a row that a reviewer removed against its score carries none. A removed
    row of which nothing remains is left out, since the loss of a batch without any is not a number
    in some trainers; so is a rejected one, but under `on_reject: keep`.

    Returns:
        How many `rows` were written, how many of them are `partly` masked, how many `tokens` lost
        their loss, and which rows are `left_out` since nothing of them remains.

    Raises:
        UserError: The rows are preferences, or the tokenizer is not there, or makes other tokens
            than those that were scored.
    """
    if table.holds_pairs:
        raise UserError(
            f"{source.name} holds preference rows, and --action mask is for rows of one answer: a "
            "preference is between two whole ones. Use --action drop."
        )
    counts: Counter[str] = Counter(rows=0, partly=0, tokens=0)
    left_out: list[int] = []

    def tables() -> Iterator[pa.Table]:
        for rows in _masked_rows(config, source, table, threshold, overrides):
            written = [row for row in rows if row.carries_loss]
            left_out.extend(row.row for row in rows if not row.carries_loss)
            counts["rows"] += len(written)
            counts["partly"] += sum(row.masked > 0 for row in written)
            counts["tokens"] += sum(row.masked for row in rows)
            yield _as_table(written)

    with written_whole(folder.masked) as draft:
        write_row_groups(tables(), SCHEMA, draft)
    return {**counts, "left_out": left_out}


def _as_table(rows: Sequence[MaskedRow]) -> pa.Table:
    columns = {
        "input_ids": [row.input_ids for row in rows],
        "attention_mask": [[1] * len(row.input_ids) for row in rows],
        "labels": [row.labels for row in rows],
    }
    return pa.table(columns, schema=SCHEMA)


def _masked_rows(
    config: RunConfig,
    source: DataSource,
    table: ScoreTable,
    threshold: float,
    overrides: Mapping[int, Override],
) -> Iterator[list[MaskedRow]]:
    """The rows to write, and those of which nothing remains, some at a time."""
    model = config.model
    tokenizer = load_tokenizer(
        model.name, revision=model.revision, trust_remote_code=model.trust_remote_code
    )
    survey = survey_rows(source, tokenizer, **dict(config.data))
    outcomes = divide(table, threshold, overrides).outcomes
    lines = table.lines()
    for rows in survey.parts():
        read = survey.read(rows, tokenizer).scorable
        examples = {one.row: one for one in read if isinstance(one, TokenizedExample)}
        masked = []
        for line in islice(lines, len(rows)):
            example, outcome = examples.get(line["row"]), outcomes[line["row"]]
            _check_tokens(config, source, line, example)
            if example is None or (outcome == "rejected" and config.on_reject != "keep"):
                continue
            spans = _spans(line, example, threshold, config) if outcome == "removed" else None
            masked.append(mask_row(example, spans))
        yield masked


def _check_tokens(
    config: RunConfig, source: DataSource, line: dict[str, Any], example: TokenizedExample | None
) -> None:
    """See that a row that was scored has the tokens that it had then."""
    if line["status"] == "scored" and (example is None or _response(example) != line["token_ids"]):
        raise UserError(
            f"{source.name}: the tokenizer of {config.model.name} makes other tokens of row "
            f"{line['row']} than when it was scored, so what was scored cannot be masked: score "
            "the data again with --force."
        )


def _spans(
    line: dict[str, Any], example: TokenizedExample, threshold: float, config: RunConfig
) -> npt.NDArray[np.bool_]:
    by_score = line["fihs"] is not None and line["fihs"] >= threshold
    if not by_score or line["token_fihs"] is None:  # a reviewer's word, or no sight of tokens
        return np.ones(example.response_tokens, dtype=bool)
    return harmful_spans(line["token_fihs"], threshold, config.scoring.reduction)


def _response(example: TokenizedExample) -> list[int]:
    pairs = zip(example.input_ids, example.response_mask, strict=True)
    return [token for token, carries_loss in pairs if carries_loss]
