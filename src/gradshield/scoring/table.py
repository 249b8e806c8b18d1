"""The score table: one line for every input row, scored or rejected."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pa_dataset
import pyarrow.parquet as pq

from gradshield.data.conversation import Rejection
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

FOOTER_KEY = b"gradshield"
"""Key of a part's own description in its footer."""

MOST_REASON = 1000
"""Characters of a row's reason: a field name of the data's can be megabytes long."""

FILES_AHEAD = 4
"""Files of a table that are read before their lines are asked for."""

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


def reason_text(rejection: Rejection) -> str:
    """The reason for the table; half of a surrogate pair, which no file takes, as its escape.

    Cut to `MOST_REASON` characters: some reasons quote a role, or name the fields that were found.
    """
    text = str(rejection)
    short = text if len(text) <= MOST_REASON else text[:MOST_REASON] + "…"
    return short.encode("utf-8", "backslashreplace").decode("utf-8")


def write_part(
    lines: Sequence[Mapping[str, Any]],
    path: Path,
    *,
    about: Mapping[str, Any] | None = None,
    once: bool = False,
) -> None:
    """Write lines, sorted by row, as one parquet file, whole or not at all.

    Args:
        lines: Lines of the table.
        path: The file.
        about: What to say of the lines in the file's footer.
        once: See `written_whole`.
    """
    in_order = sorted(lines, key=lambda line: line["row"])
    schema = SCHEMA if about is None else SCHEMA.with_metadata({FOOTER_KEY: json.dumps(about)})
    with written_whole(path, once=once) as draft:
        pq.write_table(pa.Table.from_pylist(in_order, schema=schema), draft)


def read_footer(path: Path) -> dict[str, Any] | None:
    """What `write_part` was told to say of the lines; None for a file that says nothing."""
    metadata = pq.read_schema(path).metadata or {}
    if FOOTER_KEY not in metadata:
        return None
    about: dict[str, Any] = json.loads(metadata[FOOTER_KEY])
    return about


@dataclass(frozen=True)
class ScoreColumns:
    """What is short of each line of a score table, by columns in the order of the rows, [rows].

    Attributes:
        row: Position in the input.
        id: The row's own id as text, null if it has none.
        scored: Whether it has a score; if not it was rejected.
        fihs: FIHS, NaN where rejected.
        loss: Mean loss of the response tokens in nats, NaN where rejected.
        response_tokens: Number of response tokens, 0 where rejected.
        truncated: Whether tokens were cut away; False where rejected.
        reasons: Of each rejected row, why.
        holds_pairs: Whether some row is a preference.
    """

    row: npt.NDArray[np.int64]
    id: pa.ChunkedArray
    scored: npt.NDArray[np.bool_]
    fihs: npt.NDArray[np.float64]
    loss: npt.NDArray[np.float64]
    response_tokens: npt.NDArray[np.int64]
    truncated: npt.NDArray[np.bool_]
    reasons: Mapping[int, str]
    holds_pairs: bool

    @classmethod
    def of(cls, table: pa.Table) -> ScoreColumns:
        """Those of a table with the columns of `SCHEMA`."""
        return ScoreColumns(**_columns(table))

    def __len__(self) -> int:
        return len(self.row)

    def scores(self) -> list[float | None]:
        """FIHS of each row, None where it was rejected: for files and for people."""
        pairs = zip(self.fihs.tolist(), self.scored.tolist(), strict=True)
        return [fihs if scored else None for fihs, scored in pairs]

    def fihs_by_row(self) -> dict[int, float]:
        """FIHS of the rows that have one, by their position in the input."""
        scored = self.row[self.scored].tolist(), self.fihs[self.scored].tolist()
        return dict(zip(*scored, strict=True))


@dataclass(frozen=True)
class ScoreTable(ScoreColumns):
    """The score table of a run: its columns in memory, and whole lines from its files, in turn.

    Attributes:
        files: The parts that the lines are in, in the order of their rows.
    """

    files: tuple[Path, ...]

    def lines(self, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """Whole lines in the order of the rows, read from one file after the other.

        Args:
            columns: Which of `SCHEMA`; all if None.
        """
        for batch in self.batches(columns):
            yield from batch.to_pylist()

    def batches(
        self, columns: Sequence[str] | None = None, rows: npt.NDArray[np.int64] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Lines as Arrow holds them, in the order of the rows, some at a time.

        Args:
            columns: Which of `SCHEMA`; all if None.
            rows: Which rows; all if None.
        """
        wanted = None if rows is None else pc.field("row").isin(pa.array(rows))
        yield from stored_lines(self.files).to_batches(
            columns=None if columns is None else list(columns),
            filter=wanted,
            fragment_readahead=FILES_AHEAD,
            cache_metadata=False,  # the footers of thousands of files
        )

    def lines_of(self, rows: Collection[int]) -> dict[int, dict[str, Any]]:
        """Whole lines of a few rows, by row; only the files that hold them are read."""
        wanted = pa.array(sorted(rows), type=pa.int64())
        found = stored_lines(self.files).to_table(
            filter=pc.field("row").isin(wanted), cache_metadata=False
        )
        return {line["row"]: line for line in found.to_pylist()}


_IN_MEMORY = [
    "row",
    "id",
    "fihs",
    "loss",
    "response_tokens",
    "truncated",
    "status",
    "reason",
    "chosen_tokens",
]


def columns_of(lines: Iterable[Mapping[str, Any]]) -> ScoreColumns:
    """The columns of lines that are in memory, in their order."""
    schema = pa.schema([SCHEMA.field(name) for name in _IN_MEMORY])
    return ScoreColumns.of(pa.Table.from_pylist(list(lines), schema=schema))


def read_table(folder: Path) -> ScoreTable:
    """Read the columns of all parts of a score table; they are as many rows, each in one of them.

    Raises:
        ArrowException, OSError, ValueError: A part is damaged.
    """
    files = sorted(folder.glob("*.parquet"))
    table = stored_lines(files).to_table(columns=_IN_MEMORY, cache_metadata=False)
    if not np.all(np.diff(_numbers(table["row"], -1)) > 0):  # their names tell another order
        files.sort(key=_first_row)
        table = stored_lines(files).to_table(columns=_IN_MEMORY, cache_metadata=False)
    return ScoreTable(files=tuple(files), **_columns(table.combine_chunks()))


def stored_lines(files: Sequence[Path]) -> Any:
    """The lines of some parts, one part after the other, as a `pyarrow` data set."""
    return pa_dataset.dataset(list(files), schema=SCHEMA, format="parquet")


def _columns(table: pa.Table) -> dict[str, Any]:
    scored = _numbers(pc.equal(table["status"], "scored"), False)
    rejected = table.filter(pa.array(~scored)).select(["row", "reason"])
    return {
        "row": _numbers(table["row"], -1),
        "id": table["id"],
        "scored": scored,
        "fihs": _numbers(table["fihs"], math.nan),
        "loss": _numbers(table["loss"], math.nan),
        "response_tokens": _numbers(table["response_tokens"], 0),
        "truncated": _numbers(table["truncated"], False),
        "reasons": {line["row"]: line["reason"] for line in rejected.to_pylist()},
        "holds_pairs": table["chosen_tokens"].null_count < len(table),
    }


def _first_row(path: Path) -> int:
    rows = pq.read_table(path, columns=["row"])["row"]
    return int(rows[0].as_py()) if len(rows) else -1


def _numbers(column: Any, absent: float | bool) -> Any:
    return column.fill_null(absent).to_numpy(zero_copy_only=False)
