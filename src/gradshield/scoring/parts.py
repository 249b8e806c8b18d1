"""Parts: the unit in which a run is scored, by whatever executor and on whatever machine.

A part is a range of rows and the file that holds their scores. The file takes its name when it is
whole, so that its being there means that the part is done, and its footer says of which rows of
which run it is: parts can be made anywhere, in any order, and be joined by what they say. What a
part holds depends on its own rows alone, so a run is the same however its parts were shared out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import torch

from gradshield.data.conversation import Rejection
from gradshield.data.survey import RowsRead, Scorable
from gradshield.data.tokenization import TokenizedExample
from gradshield.errors import UserError
from gradshield.scoring.table import (
    read_footer,
    reason_text,
    rejected_line,
    stored_lines,
    write_part,
)

ROWS_PER_PART = 128
"""Rows of one part of a small run; an interrupted run repeats at most this many."""
MOST_PARTS = 10_000
"""Parts of a large run, about: a folder of millions of files serves nobody."""

FATAL: tuple[type[Exception], ...] = (UserError, getattr(torch, "AcceleratorError", UserError))
"""No row's fault: what the user has to mend, or an accelerator that this process has lost."""

Ids = Mapping[int, str | int | None]
"""The own id of a row, by its position."""
Advance = Callable[[int], None]
"""Told how many more rows are done."""
ScoreLines = Callable[[Sequence[Scorable], Ids, Advance], list[dict[str, Any]]]
"""Lines of the score table for some rows, in any order."""


@dataclass(frozen=True)
class Part:
    """Some neighbouring rows, and the file of the score table that their lines go to.

    Attributes:
        rows: Their positions in the input.
        total: Rows of the whole input.
        run: Fingerprint of what decides the scores of the run.
        path: The file.
    """

    rows: range
    total: int
    run: str
    path: Path

    @property
    def is_done(self) -> bool:
        """Whether the file is there, and so whole."""
        return self.path.is_file()


@dataclass(frozen=True)
class StoredPart:
    """What a part says of itself in its footer.

    Attributes:
        path: The file.
        rows: Positions of its rows in the input.
        total: Rows of the whole input.
        run: Fingerprint of what decides the scores of its run.
        places: Of its rejected rows, where they stand in the input, see `RowsRead`.
        left_out: Of each row that has something that is not scored, what; see
            `TokenizedExample`.
    """

    path: Path
    rows: range
    total: int
    run: str
    places: dict[int, dict[str, Any]]
    left_out: list[list[str]]


def cut_into_parts(total: int, folder: Path, run: str) -> list[Part]:
    """The parts of a run, which its rows alone decide."""
    size = ROWS_PER_PART * max(1, -(-total // (ROWS_PER_PART * MOST_PARTS)))
    starts = range(0, total, size)
    return [
        Part(
            range(start, min(start + size, total)),
            total,
            run,
            folder / f"part-{number:05d}.parquet",
        )
        for number, start in enumerate(starts)
    ]


def score_part(part: Part, read: RowsRead, score: ScoreLines, advance: Advance) -> None:
    """Score the rows of a part and write its file.

    Raises:
        UserError: No row of it can be scored, for one and the same cause.
    """
    lines = scored_apart(score, read.scorable, read.ids, advance)
    reasons = {row: reason_text(rejection) for row, rejection in read.rejections.items()}
    lines += [rejected_line(row, read.ids[row], reason) for row, reason in reasons.items()]
    rejected = [line["row"] for line in lines if line["status"] == "rejected"]
    examples = (row for row in read.scorable if isinstance(row, TokenizedExample))
    left_out = [row.left_out for row in examples if row.left_out]
    about = {
        "first": part.rows.start,
        "rows": len(part.rows),
        "of": part.total,
        "run": part.run,
        "places": {str(row): read.places[row] for row in sorted(rejected)},
        **({"left_out": left_out} if left_out else {}),
    }
    write_part(lines, part.path, about=about)
    advance(len(reasons))


def scored_apart(
    score: ScoreLines,
    examples: Sequence[Scorable],
    ids: Ids,
    advance: Advance,
) -> list[dict[str, Any]]:
    """Score rows together; a row that makes scoring fail is rejected, and the others are scored.

    Raises:
        UserError: Every one of several rows fails: then it is no row's fault.
    """
    done = 0

    def count(rows: int) -> None:
        nonlocal done
        done += rows
        advance(rows)

    try:
        return score(examples, ids, count)
    except FATAL:
        raise
    except Exception as fault:
        lines = _one_by_one(score, examples, ids, fault)
    advance(len(examples) - done)
    return lines


def _one_by_one(
    score: ScoreLines, examples: Sequence[Scorable], ids: Ids, fault: Exception
) -> list[dict[str, Any]]:
    """Score halves of rows that failed together, down to the rows that fail alone."""
    lines = _halves(score, examples, ids, fault)
    if len(examples) > 1 and all(_failed(line) for line in lines):
        rows = [example.row for example in examples]
        raise UserError(
            f"None of the rows {min(rows)} to {max(rows)} can be scored ({_text(fault)}): the "
            "model, its tokenizer or the device is at fault. Run `gradshield check`."
        ) from fault
    return lines


def _halves(
    score: ScoreLines, examples: Sequence[Scorable], ids: Ids, fault: Exception
) -> list[dict[str, Any]]:
    if len(examples) == 1:
        row = examples[0].row
        reason = reason_text(Rejection(FAILED, _text(fault)))
        return [rejected_line(row, ids.get(row), reason)]
    lines = []
    middle = len(examples) // 2
    for half in (examples[:middle], examples[middle:]):
        try:
            lines += score(half, ids, lambda count: None)
        except FATAL:
            raise
        except Exception as half_fault:
            lines += _halves(score, half, ids, half_fault)
    return lines


FAILED = "scoring_failed"
"""Reason of a row that makes the model fail."""


def _failed(line: Mapping[str, Any]) -> bool:
    return str(line["reason"]).startswith(FAILED)


def _text(fault: Exception) -> str:
    lines = str(fault).splitlines()
    return f"{type(fault).__name__}: {lines[0]}" if lines else type(fault).__name__


def read_part(path: Path) -> StoredPart | None:
    """What a file of the score table says of itself; None where it says nothing."""
    about = read_footer(path)
    if about is None:
        return None
    rows = range(about["first"], about["first"] + about["rows"])
    places = {int(row): place for row, place in about["places"].items()}
    return StoredPart(path, rows, about["of"], about["run"], places, about.get("left_out", []))


@dataclass(frozen=True)
class Account:
    """What is to be told of the rows of a score table.

    Attributes:
        rejected: By the order of the rows, of each rejected one `row`, its place (see `RowsRead`),
            `reason` and `detail`.
        truncated: Number of rows of which tokens were cut away.
        left_out: See `StoredPart`, of all parts.
    """

    rejected: list[dict[str, Any]]
    truncated: int
    left_out: list[list[str]]


def account_of(folder: Path) -> Account:
    """What is to be told of the rows of a score table."""
    files = sorted(folder.glob("*.parquet"))
    stored = [part for part in map(read_part, files) if part is not None]
    places = {row: place for part in stored for row, place in part.places.items()}
    lines = stored_lines(files)
    found = lines.to_table(columns=["row", "reason"], filter=pc.field("status") == "rejected")
    rejected = []
    for line in found.sort_by("row").to_pylist():
        reason, _, detail = line["reason"].partition(": ")
        place = places.get(line["row"], {"line": None})
        rejected.append({"row": line["row"], **place, "reason": reason, "detail": detail})
    return Account(
        rejected,
        lines.count_rows(filter=pc.field("truncated")),
        [entries for part in stored for entries in part.left_out],
    )
