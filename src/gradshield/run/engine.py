"""`engine.json`: what scores the rows of a run, so that all its rows are scored by the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gradshield.durable import remove
from gradshield.errors import UserError
from gradshield.run.folder import RunFolder, read_json, write_json


def stored_engine(folder: RunFolder) -> dict[str, Any]:
    """What is in `engine.json`; `served` and `step` are None where it does not tell of them."""
    found: dict[str, Any] = {"notes": [], "warning": None}
    if folder.engine.is_file():
        found = read_json(folder.engine)
    return {"served": None, "step": None, **found}


def stored_step(folder: RunFolder) -> float | None:
    """The step that finite differences in this run take; None where none is chosen yet."""
    stored = stored_engine(folder)
    step: float | None = stored["step"]
    return step if stored["served"] is None else None


def keep_engine(folder: RunFolder, about: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what scores the rows, unless an earlier start or another shard has done so.

    Args:
        folder: The run.
        about: `notes`, `warning` and `step` of the engine, and for a served model, as `served`,
            the fingerprint of what it serves.

    Returns:
        What is kept.

    Raises:
        UserError: Rows were scored by a served model and are now to be by one here, or the
            other way round: their scores are not the same to the last digit.
    """
    if folder.engine.is_file() and stored_engine(folder)["served"] == about.get("served"):
        return stored_engine(folder)
    if any(folder.scores.glob("*.parquet")):
        raise UserError(
            f"Rows in {folder.path} were scored by another engine (a served model is not one in "
            "this process, nor one with other adapters): go on as it was started, or name another "
            "--out."
        )
    if folder.engine.is_file():
        remove(folder.reference)
        write_json(folder.engine, about)
    else:
        write_json(folder.engine, about, once=True)
    return stored_engine(folder)
