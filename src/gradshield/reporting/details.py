"""What a page shows of an opened row: its turns and what each response token adds to FIHS."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gradshield.data import Conversation, Rejection, SourceRow
from gradshield.reporting.conversations import ShownTurn, cut_to, show_conversation, show_raw
from gradshield.reporting.document import ReportRow
from gradshield.reporting.pieces import TokenPieces
from gradshield.scoring.engines.base import WINDOW

LEVELS = 63
"""A token's contribution is stored as a whole number, this for the largest of its row."""

ROWS_PER_BLOCK = 500
MOST_PACKED_BYTES = 4_500_000
"""Of rows inside the page; the rest goes to files beside it."""

Detail = dict[str, Any]
"""A row as JSON: see `detail_of`."""


@dataclass(frozen=True)
class PackedDetails:
    """Rows for a page.

    Attributes:
        inside: Blocks inside the page, each gzip of a JSON array in Base64.
        beside: Arrays for files beside it, in order.
        beside_rows: The rows in each of those files.
        scale: Contribution of a token that is shaded most, see `shading_scale`.
    """

    inside: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    beside_rows: tuple[tuple[int, ...], ...] = ()
    scale: float = 1.0


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


def shading_scale(lines: Iterable[Mapping[str, Any]]) -> float:
    """The contribution, whatever its sign, that one response token in a hundred exceeds.

    Shades are relative to it, so that they compare across rows and no outlier pales all others.
    """
    contributions = [line["token_fihs"] for line in lines if line["token_fihs"]]
    if not contributions:
        return 1.0
    return float(np.quantile(np.abs(np.concatenate(contributions)), 0.99)) or 1.0


def pack(details: Iterable[Detail], *, scale: float = 1.0) -> PackedDetails:
    """Put rows into the page as long as there is room, and the others into files beside it."""
    inside: list[str] = []
    beside: list[str] = []
    beside_rows: list[tuple[int, ...]] = []
    room = MOST_PACKED_BYTES
    for block in _blocks(details):
        text = as_json(block)
        packed = base64.b64encode(gzip.compress(text, 6, mtime=0)).decode("ascii")
        if not beside and len(packed) <= room:
            inside.append(packed)
            room -= len(packed)
        else:
            beside.append(text.decode("utf-8"))
            beside_rows.append(tuple(detail["row"] for detail in block))
    return PackedDetails(tuple(inside), tuple(beside), tuple(beside_rows), scale)


def _blocks(details: Iterable[Detail]) -> Iterator[list[Detail]]:
    block: list[Detail] = []
    for detail in details:
        block.append(detail)
        if len(block) == ROWS_PER_BLOCK:
            yield block
            block = []
    if block:
        yield block


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
