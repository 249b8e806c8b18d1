"""What a page shows of an opened row: its turns and what each response token adds to FIHS."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import Any, Literal

import numpy as np

from gradshield.data import Conversation, Rejection, SourceRow
from gradshield.reporting.conversations import ShownTurn, cut_to, show_conversation, show_raw
from gradshield.reporting.document import ReportRow
from gradshield.reporting.pieces import TokenPieces
from gradshield.scoring.engines.base import WINDOW
from gradshield.scoring.table import ScoreTable

LEVELS = 63
"""A token's contribution is stored as a whole number, this for the largest of its row."""

ROWS_PER_BLOCK = 500
MOST_STORED_BYTES = 1 << 26
MOST_TOKENS = 10_000_000
"""Of which the contributions are in memory at once."""
MOST_PACKED_BYTES = 4_500_000
"""Of rows inside the page; the rest goes to files beside it."""

Detail = dict[str, Any]
"""A row as JSON: see `detail_of`."""


@dataclass(frozen=True)
class PackedDetails:
    """Rows for a page.

    Attributes:
        inside: Blocks inside the page, each gzip of a JSON array in Base64.
        beside_rows: The rows in each of the files beside it, in order.
        scale: Contribution of a token that is shaded most, see `shading_scale`.
    """

    inside: tuple[str, ...] = ()
    beside_rows: tuple[tuple[int, ...], ...] = ()
    scale: float = 1.0


class DetailStore:
    """Rows of the page as they are made, in the order of the data, to be read in another one.

    The texts of all rows are more than memory may hold: beyond `MOST_STORED_BYTES` they are in a
    temporary file, which is gone when the store is closed.
    """

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(max_size=MOST_STORED_BYTES)  # noqa: SIM115, closed in __exit__
        self._places: dict[int, tuple[int, int]] = {}

    def __enter__(self) -> DetailStore:
        return self

    def __exit__(self, *fault: object) -> None:
        self._file.close()

    def put(self, detail: Detail) -> None:
        """Add a row; only before any is read."""
        text = as_json(detail)
        self._places[detail["row"]] = self._file.tell(), len(text)
        self._file.write(text)

    def block(self, rows: Sequence[int]) -> bytes:
        """Rows as a JSON array."""
        return b"[" + b",".join(map(self._read, rows)) + b"]"

    def _read(self, row: int) -> bytes:
        start, length = self._places[row]
        self._file.seek(start)
        return self._file.read(length)


def detail_of(
    row: SourceRow,
    line: Mapping[str, Any],
    fingerprint: str,
    *,
    conversation: Conversation | None,
    response: Literal["all", "last"],
    reduction: str,
    pieces: TokenPieces | None,
) -> Detail:
    """A row of the page.

    Args:
        row: As it stands in the file.
        line: Of the score table.
        fingerprint: Of the row.
        conversation: As the row's format reads it, None where it cannot.
        response: Which assistant turns carry loss.
        reduction: How token contributions make up the score.
        pieces: The tokenizer's; without it no token is shaded.

    Returns:
        `row`; `fingerprint`; `turns`, each a role, a text and the lengths of its tokens in UTF-16
        units, as browsers count; `levels`, what each token adds, from -LEVELS to LEVELS; `largest`,
        what LEVELS stands for; `window`, first and last + 1 of the tokens that count twice, or
        null; `cut`, the number of characters left out.
    """
    contributions = line["token_fihs"] or []
    texts = [] if pieces is None or not contributions else pieces.of(line["token_ids"])
    if conversation is None:
        turns = show_raw(row)
    else:
        turns = show_conversation(conversation, response, texts, truncated=bool(line["truncated"]))
    shown, cut = cut_to(turns)
    largest = max(map(abs, contributions), default=0.0) if texts else 0.0
    levels = [round(LEVELS * value / largest) for value in contributions] if largest else []
    return {
        "row": row.position,
        "fingerprint": fingerprint,
        "turns": [[turn.role, turn.text, _browser_lengths(turn)] for turn in shown],
        "levels": levels,
        "largest": largest,
        "window": worst_window(contributions, reduction) if levels else None,
        "cut": cut,
    }


def worst_window(contributions: Sequence[float], reduction: str) -> tuple[int, int] | None:
    """The tokens that a score looks at most, first and last + 1; None if it knows no window."""
    if reduction not in ("sum_and_worst", "worst_window") or len(contributions) <= WINDOW:
        return None
    sums = np.convolve(contributions, np.ones(WINDOW), mode="valid")
    start = int(np.argmax(sums))
    return start, start + WINDOW


def _browser_lengths(turn: ShownTurn) -> list[int]:
    if turn.text.isascii():
        return list(turn.lengths)
    found, at = [], 0
    for length in turn.lengths:
        piece = turn.text[at : at + length]
        found.append(length + sum(character > "\uffff" for character in piece))
        at += length
    return found


def in_order_of_interest(rows: Iterable[ReportRow]) -> list[int]:
    """Rows that a reviewer opens first come first, so that they are inside the page.

    Removed rows and rejected ones, then kept rows from the threshold downwards.
    """

    def place(row: ReportRow) -> tuple[int, float]:
        return (row.state == "kept", -(row.fihs or 0.0))

    return [row.row for row in sorted(rows, key=place)]


def shading_scale(table: ScoreTable) -> float:
    """The contribution, whatever its sign, that one response token in a hundred exceeds.

    Shades are relative to it, so that they compare across rows and no outlier pales all others. Of
    more than `MOST_TOKENS` tokens it is that of every second row, every third, and so on.
    """
    step = max(1, -(-int(table.response_tokens.sum()) // MOST_TOKENS))
    chosen = table.row[::step] if step > 1 else None
    found = [
        np.abs(batch.column("token_fihs").flatten().to_numpy(zero_copy_only=False))
        for batch in table.batches(["token_fihs"], chosen)
    ]
    contributions = np.concatenate([*found, np.zeros(0)])
    return float(np.quantile(contributions, 0.99)) or 1.0 if contributions.size else 1.0


def pack(store: DetailStore, rows: Sequence[int], *, scale: float = 1.0) -> PackedDetails:
    """Put rows into the page as long as there is room; the others belong into files beside it."""
    inside: list[str] = []
    beside: list[tuple[int, ...]] = []
    room = MOST_PACKED_BYTES
    for start in range(0, len(rows), ROWS_PER_BLOCK):
        block = tuple(rows[start : start + ROWS_PER_BLOCK])
        packed = "" if beside else _packed(store.block(block))
        if beside or len(packed) > room:
            beside.append(block)
        else:
            inside.append(packed)
            room -= len(packed)
    return PackedDetails(tuple(inside), tuple(beside), scale)


def _packed(text: bytes) -> str:
    return base64.b64encode(gzip.compress(text, 6, mtime=0)).decode("ascii")


def as_json(content: Any) -> bytes:
    """Compact JSON; half of a surrogate pair, which UTF-8 lacks, as its escape."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")


def conversation_of(
    row: SourceRow, read: Callable[[dict[str, Any]], Conversation]
) -> Conversation | None:
    """The conversation in a row, None where it is none or cannot be read."""
    if row.value is None:
        return None
    try:
        return read(row.value)
    except Rejection:
        return None
