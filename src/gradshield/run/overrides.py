"""What reviewers said about rows, against or with the score: kept as a trail that only grows.

`RUN/overrides.jsonl` has one line an override. Of a row, the last line counts; none is ever changed
or deleted, so the file tells who decided what, when, why, and against which score.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    StringConstraints,
    ValidationError,
)

from gradshield.config import first_problem
from gradshield.errors import UserError
from gradshield.files import append_lines
from gradshield.run.fingerprints import run_fingerprint
from gradshield.run.folder import RunFolder

_Text = StringConstraints(strict=True, strip_whitespace=True, min_length=1, max_length=4000)
ReviewerName = Annotated[
    str, StringConstraints(strict=True, strip_whitespace=True, min_length=1, max_length=200)
]


class Override(BaseModel):
    """A reviewer's word about one row.

    Attributes:
        row: 0-based position in the input.
        fingerprint: Of the row that the reviewer saw, see `row_fingerprint`.
        action: keep or remove, whatever the score says; withdraw leaves it to the score again.
        reviewer: Who says so.
        time: When.
        reason: Why.
        expires: From when on the score decides again; never if None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    row: Annotated[StrictInt, Field(ge=0)]
    fingerprint: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
    action: Literal["keep", "remove", "withdraw"]
    reviewer: ReviewerName
    time: AwareDatetime
    reason: Annotated[str, _Text]
    expires: AwareDatetime | None = None


class RecordedOverride(Override):
    """An override as it stands in the trail.

    Attributes:
        run: Fingerprint of the run.
        fihs: The row's score, None if it was rejected.
        threshold: The threshold when the override was recorded, None if nothing was removed.
    """

    run: str
    fihs: float | None
    threshold: float | None


@dataclass(frozen=True)
class ReviewedRun:
    """What an override must agree with.

    Attributes:
        fingerprint: Of the run.
        rows: Fingerprint of every row of the input, in file order.
        scores: FIHS of every row, None where it was rejected.
        threshold: Of the decision; infinite where nothing is removed.
    """

    fingerprint: str
    rows: Sequence[str]
    scores: Sequence[float | None]
    threshold: float


def read_overrides(folder: RunFolder) -> list[RecordedOverride]:
    """The trail of a run, oldest first; empty where nobody has overruled anything.

    Raises:
        UserError: A line cannot be read, or is of another run; names it.
    """
    if not folder.overrides.is_file():
        return []
    run = run_fingerprint(folder.read_identity())
    lines = folder.overrides.read_bytes().splitlines()
    return [_recorded(line, f"{folder.overrides}:{n}", run) for n, line in enumerate(lines, 1)]


def in_effect(
    recorded: Iterable[RecordedOverride], now: datetime | None = None
) -> dict[int, RecordedOverride]:
    """By row, the overrides that count: the last of each row, unless withdrawn or expired."""
    now = now or datetime.now(timezone.utc)
    last = {override.row: override for override in recorded}
    return {
        row: override
        for row, override in sorted(last.items())
        if override.action != "withdraw" and (override.expires is None or now < override.expires)
    }


def not_recorded(folder: RunFolder, overrides: Sequence[Override]) -> list[Override]:
    """Those that the trail of a run does not hold yet, so that a file can be applied twice."""
    names = set(Override.model_fields)
    known = {
        Override.model_validate(earlier.model_dump(include=names))
        for earlier in read_overrides(folder)
    }
    return [override for override in dict.fromkeys(overrides) if override not in known]


def record_overrides(
    folder: RunFolder, overrides: Sequence[Override], run: ReviewedRun
) -> list[RecordedOverride]:
    """Append overrides to the trail of a run, all or none.

    Returns:
        What was appended. It is on the disk when this returns.
    """
    threshold = run.threshold if math.isfinite(run.threshold) else None
    new = [
        RecordedOverride(
            **override.model_dump(),
            run=run.fingerprint,
            fihs=run.scores[override.row],
            threshold=threshold,
        )
        for override in overrides
    ]
    append_lines(folder.overrides, [override.model_dump_json() for override in new])
    return new


def check_trail(overrides: Iterable[RecordedOverride], rows: Sequence[str], place: Path) -> None:
    """Refuse a trail in which a row is not the one that was reviewed.

    Raises:
        UserError: Names the row.
    """
    for override in overrides:
        if override.row >= len(rows) or rows[override.row] != override.fingerprint:
            raise UserError(
                f"{place}: the override of row {override.row} by {override.reviewer} was made for "
                "another text than the row has now: the trail was edited, or is of other data."
            )


def _recorded(line: bytes, place: str, run: str) -> RecordedOverride:
    try:
        override = RecordedOverride.model_validate_json(line)
    except ValidationError as fault:
        raise UserError(
            f"{place}: this is no override ({problem(fault)}). The trail is written by gradshield "
            "alone; if writing was cut short, delete this line."
        ) from fault
    if override.run != run:
        raise UserError(f"{place}: this override is of another run: take the line out.")
    return override


def problem(fault: ValidationError) -> str:
    """What is wrong, in words for the faults that people make."""
    first = fault.errors()[0]
    field, value = ".".join(map(str, first["loc"])), first["input"]
    if first["type"] == "missing":
        return f"it has no {field}"
    if field in ("reason", "reviewer") and first["type"] == "string_too_short":
        return f"its {field} is empty, but a mark that cannot be accounted for does not count"
    if field == "action":
        return f"the action {str(value)[:40]!r} is unknown, choose keep, remove or withdraw"
    return first_problem(fault)
