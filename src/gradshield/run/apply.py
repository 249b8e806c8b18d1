"""The step `apply`: write the kept, removed and rejected rows as they came in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gradshield.config import RunConfig
from gradshield.data import DataSource
from gradshield.errors import UserError
from gradshield.run.actions import check_columns, new_columns, write_annotated
from gradshield.run.folder import RunFolder
from gradshield.run.masking import write_masked
from gradshield.run.source import reopen_input
from gradshield.run.threshold import (
    RowDecision,
    divide,
    read_decision,
    read_scores,
    record_action,
)


class RowsRejected(Exception):  # noqa: N818, the name says what happened
    """Rows could not be scored and the run was told to fail then; nothing was kept."""


def apply(config: RunConfig, folder: RunFolder, source: DataSource | None = None) -> RowDecision:
    """Write the three data files beside each other, in the container of the input.

    An input of several files gives folders with a file for each; `shards` gives folders of so
    many files. The kept file holds rejected rows only under `on_reject: keep`; they are in the
    rejected file in any case. An `action` other than `drop` adds a file of all rows, with new
    columns or masked, and changes nothing in the three.

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
    added = {} if fails else _write_action(config, folder, source, lines, limit)
    _write_parts(config, folder, source, rows, fails)
    record_action(folder, config.action, added)
    for name in ("annotated", "masked"):
        if name not in added:
            folder.keep_only(name, None)
    if fails:
        raise RowsRejected(
            f"{len(rows.rejected)} rows could not be scored and --on-reject is fail: no kept file "
            f"was written. The reasons are in {folder.rejections}."
        )
    return rows


def check_input(config: RunConfig, folder: RunFolder) -> DataSource:
    """Find the input of a run, as it was scored and free for the action's columns.

    Raises:
        UserError: It is gone, has changed, has a key that the action would write, or cannot be
            divided into so many files.
    """
    source = reopen_input(config, folder)
    provenance = json.loads(folder.provenance.read_text(encoding="utf-8"))
    if source.sha256() != provenance["identity"]["data_sha256"]:
        raise UserError(
            f"The input {source.location} has changed since it was scored: score it again with "
            "--force."
        )
    check_columns(source, config.action)
    source.check_layout(config.shards)
    return source


def _write_action(
    config: RunConfig,
    folder: RunFolder,
    source: DataSource,
    lines: Sequence[dict[str, Any]],
    limit: float,
) -> Mapping[str, Any]:
    """Counts of the file that the action adds, under its name; empty where it adds none."""
    if config.action == "drop":
        return {}
    if config.action == "mask":
        return {"masked": write_masked(config, folder, source, lines, limit)}
    columns = new_columns(
        lines,
        limit,
        config.action,
        # What the kept file holds is to be trained on.
        unscored=1.0 if config.on_reject == "keep" else 0.0,
    )
    return {"annotated": write_annotated(source, columns, folder, config.shards)}


def _write_parts(
    config: RunConfig, folder: RunFolder, source: DataSource, rows: RowDecision, fails: bool
) -> None:
    kept = rows.kept
    if config.on_reject == "keep":
        kept = tuple(sorted((*rows.kept, *rows.rejected)))
    outputs = {"removed": rows.removed, "rejected": rows.rejected, "kept": kept}
    for name, positions in outputs.items():
        written = None
        if not (name == "kept" and fails):
            written = source.write_subset(positions, folder.path, name, config.shards)
        folder.keep_only(name, written)
