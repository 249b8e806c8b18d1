"""Overrides on their way in, from a file that the report exported or from the review server.

Each is checked against the run before anything is written, and a message names the one at fault.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gradshield.errors import UserError
from gradshield.run.overrides import Override, ReviewedRun, problem

VERSION = 1
"""Of the format of `overrides.json`, which the report exports."""


def read_exported(path: Path, run: ReviewedRun, reviewer: str | None = None) -> list[Override]:
    """The overrides of a file that the report exported, each of them fit for this run.

    Args:
        path: The file, of the format `VERSION`.
        run: The run that it has to be of.
        reviewer: Name for the overrides that have none.

    Raises:
        UserError: The file cannot be read or is of another run, or an override cannot be applied;
            names the first such.
    """
    content = _exported_content(path)
    if content["run"] != run.fingerprint:
        raise UserError(
            f"{path} was made for another run ({str(content['run'])[:12]}…, this one is "
            f"{run.fingerprint[:12]}…): other data, another model or other settings. Open the "
            "report of this run and mark the rows there. Nothing was written."
        )
    return [
        checked_override(_with_reviewer(entry, reviewer), run, f"{path}, override {number}")
        for number, entry in enumerate(content["overrides"], start=1)
    ]


def checked_override(entry: Any, run: ReviewedRun, place: str) -> Override:
    """An override that can be recorded for a run.

    Args:
        entry: As it came in.
        run: What it must agree with.
        place: Where it stands, for the message.

    Raises:
        UserError: It is of no known form, or names a row that the run does not have or that has
            changed.
    """
    try:
        override = Override.model_validate(entry)
    except ValidationError as fault:
        raise UserError(
            f"{_named(place, entry)}: {problem(fault)}. Nothing was written."
        ) from fault
    if override.row >= len(run.rows):
        raise UserError(
            f"{_named(place, entry)}: there is no such row, the input has {len(run.rows)}. "
            "Nothing was written."
        )
    if override.fingerprint != run.rows[override.row]:
        raise UserError(
            f"{_named(place, entry)}: the row is not the one that was reviewed, its text has "
            "changed since. Read it again in the report of this run. Nothing was written."
        )
    return override


def _exported_content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as fault:
        raise UserError(
            f"There is no file {path}: export it from the report of the run."
        ) from fault
    except (ValueError, RecursionError) as fault:
        raise UserError(f"{path} is no JSON ({fault}): export it again.") from fault
    if not (isinstance(content, dict) and isinstance(content.get("overrides"), list)):
        raise UserError(f"{path} is no file of overrides: export it from the report of the run.")
    if content.get("version") != VERSION:
        raise UserError(
            f"{path} has the version {content.get('version')!r}, this gradshield reads {VERSION}: "
            "export it with the report that this version writes."
        )
    return {"run": None, **content}


def _with_reviewer(entry: Any, reviewer: str | None) -> Any:
    if isinstance(entry, Mapping) and not entry.get("reviewer") and reviewer is not None:
        return {**entry, "reviewer": reviewer}
    return entry


def _named(place: str, entry: Any) -> str:
    row = entry.get("row") if isinstance(entry, Mapping) else None
    return f"{place} (row {row})" if isinstance(row, int) else place
