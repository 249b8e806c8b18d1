"""The step `apply`: write the kept, removed and rejected rows as they came in."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gradshield.config import RunConfig
from gradshield.data import open_container
from gradshield.errors import UserError
from gradshield.files import sha256_of
from gradshield.run.actions import (
    check_columns,
    new_columns,
    withdraw_annotated,
    write_annotated,
)
from gradshield.run.folder import RunFolder, read_json
from gradshield.run.threshold import (
    RowDecision,
    divide,
    read_decision,
    read_scores,
    record_action,
)


class RowsRejected(Exception):  # noqa: N818, the name says what happened
    """Rows could not be scored and the run was told to fail then; nothing was kept."""


def apply(config: RunConfig, folder: RunFolder, source: Path | None = None) -> RowDecision:
    """Write the three data files beside each other, in the container of the input.

    The kept file holds rejected rows only under `on_reject: keep`; they are in the rejected file
    in any case. An `action` other than `drop` adds a file of all rows with new columns, and
    changes nothing in the three.

    Args:
        config: The configuration.
        folder: The run folder.
        source: The input, where `check_input` has found it already.

    Raises:
        UserError: There is no decision yet, the input has changed since it was scored, or it has
            a key that the action would write; then nothing is written.
        RowsRejected: Under `on_reject: fail`, when a row was rejected; no file to train on is
            written.
    """
    source = source or check_input(config, folder)
    lines, limit = read_scores(folder), read_decision(folder)["threshold"]
    rows = divide(lines, limit)
    fails = config.on_reject == "fail" and bool(rows.rejected)
    # First: if it cannot be written, all other files still belong to one decision.
    annotated = None if fails else _write_action(config, folder, source, lines, limit)
    _write_parts(config, folder, source, rows, fails)
    record_action(folder, config.action, annotated)
    if annotated is None:
        withdraw_annotated(folder)
    if fails:
        raise RowsRejected(
            f"{len(rows.rejected)} rows could not be scored and --on-reject is fail: no kept file "
            f"was written. The reasons are in {folder.rejections}."
        )
    return rows


def check_input(config: RunConfig, folder: RunFolder) -> Path:
    """Find the input of a run, as it was scored and free for the action's columns.

    Raises:
        UserError: It is gone, has changed, or has a key that the action would write.
    """
    provenance = read_json(folder.provenance, "identity", "data")
    source = Path(config.data_path)
    if not source.is_absolute():
        # Relative to the folder that the run was started in, wherever this one is.
        source = Path(provenance["data"])
    _check_unchanged(source, provenance["identity"]["data_sha256"])
    check_columns(source, config.action)
    return source


def _write_action(
    config: RunConfig,
    folder: RunFolder,
    source: Path,
    lines: Sequence[dict[str, Any]],
    limit: float,
) -> int | None:
    """Rows in the file that the action adds, None where it adds none."""
    if config.action == "drop":
        return None
    columns = new_columns(
        lines,
        limit,
        config.action,
        # What the kept file holds is to be trained on.
        unscored=1.0 if config.on_reject == "keep" else 0.0,
    )
    return write_annotated(source, columns, folder)


def _write_parts(
    config: RunConfig, folder: RunFolder, source: Path, rows: RowDecision, fails: bool
) -> None:
    container = open_container(source)
    kept = rows.kept
    if config.on_reject == "keep":
        kept = tuple(sorted((*rows.kept, *rows.rejected)))
    outputs = {"removed": rows.removed, "rejected": rows.rejected, "kept": kept}
    for name, positions in outputs.items():
        target = folder.output(name, container.suffix or "_rows")
        if not (name == "kept" and fails):
            container.write_subset(source, positions, target)
        elif target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)


def _check_unchanged(source: Path, sha256: str) -> None:
    if not source.exists():
        raise UserError(f"The input {source} is gone: put it back, or score it where it is now.")
    if sha256_of(source) != sha256:
        raise UserError(
            f"The input {source} has changed since it was scored: score it again with --force."
        )
