"""The step `apply`: write the kept, removed and rejected rows as they came in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gradshield.config import RunConfig
from gradshield.data import DataSource
from gradshield.run.actions import check_columns, new_columns, write_annotated
from gradshield.run.fingerprints import fingerprints_of, run_fingerprint
from gradshield.run.folder import RunFolder
from gradshield.run.masking import write_masked
from gradshield.run.outputs import record_outputs, record_withdrawn
from gradshield.run.overrides import (
    Override,
    ReviewedRun,
    check_trail,
    in_effect,
    read_overrides,
)
from gradshield.run.source import check_unchanged, reopen_input
from gradshield.run.threshold import (
    RowDecision,
    counted,
    divide,
    read_decision,
    read_scores,
    record_action,
)
from gradshield.scoring.table import ScoreTable


class RowsRejected(Exception):  # noqa: N818, the name says what happened
    """Rows could not be scored and the run was told to fail then; nothing was kept."""


def apply(config: RunConfig, folder: RunFolder, source: DataSource | None = None) -> RowDecision:
    """Write the three data files beside each other, in the container of the input.

    An input of several files gives folders with a file for each; `shards` gives folders of so
    many files. Rows that a reviewer ruled on are where they said, not where the score would put
    them. The kept file holds rejected rows only under `on_reject: keep`; they are in the rejected
    file in any case. An `action` other than `drop` adds a file of all rows, with new columns or
    masked, and changes nothing in the three.

    Args:
        config: The configuration.
        folder: The run folder.
        source: The input, where `check_input` has found it already.

    Raises:
        UserError: There is no decision yet, the input has changed since it was scored, it has
            a key that the action would write, or the trail of overrides does not fit; then nothing
            is written.
        RowsRejected: Under `on_reject: fail`, when a row was rejected; no file to train on is
            written.
    """
    source = source or check_input(config, folder)
    table, limit = read_scores(folder), read_decision(folder)["threshold"]
    overrides = in_effect(read_overrides(folder))
    rows = divide(table, limit, overrides)
    fails = config.on_reject == "fail" and bool(rows.rejected)
    with record_withdrawn(folder):
        # First: if it cannot be written, all other files still belong to one decision.
        added = {} if fails else _write_action(config, folder, source, table, limit, overrides)
    _write_parts(config, folder, source, rows, fails)
    record_action(folder, counted(table, limit, overrides), config.action, added)
    for name in ("annotated", "masked"):
        if name not in added:
            folder.keep_only(name, None)
    record_outputs(folder, config, overrides)
    if fails:
        raise RowsRejected(
            f"{len(rows.rejected)} rows could not be scored and --on-reject is fail: no kept file "
            f"was written. The reasons are in {folder.rejections}."
        )
    return rows


def check_input(config: RunConfig, folder: RunFolder) -> DataSource:
    """Find the input of a run, as it was scored and free for the action's columns.

    Raises:
        UserError: It is gone, has changed, has a key that the action would write, cannot be divided
            into so many files, or the trail of overrides is not one of its rows.
    """
    source = reopen_input(config, folder)
    check_unchanged(source, folder.read_identity()["data_sha256"])
    check_columns(source, config.action)
    source.check_layout(config.shards)
    if recorded := read_overrides(folder):
        check_trail(recorded, fingerprints_of(source), folder.overrides)
    return source


def review_of(folder: RunFolder, source: DataSource) -> ReviewedRun:
    """What an override has to agree with to be recorded in a run.

    Args:
        folder: The run folder, with scores and a decision.
        source: Its input, unchanged.

    Raises:
        UserError: There are no scores or no decision.
    """
    return ReviewedRun(
        run_fingerprint(folder.read_identity()),
        fingerprints_of(source),
        read_scores(folder).scores(),
        read_decision(folder)["threshold"],
    )


def _write_action(
    config: RunConfig,
    folder: RunFolder,
    source: DataSource,
    table: ScoreTable,
    limit: float,
    overrides: Mapping[int, Override],
) -> Mapping[str, Any]:
    """Counts of the file that the action adds, under its name; empty where it adds none."""
    if config.action == "drop":
        return {}
    if config.action == "mask":
        return {"masked": write_masked(config, folder, source, table, limit, overrides)}
    columns = new_columns(
        table,
        limit,
        config.action,
        # What the kept file holds is to be trained on.
        unscored=1.0 if config.on_reject == "keep" else 0.0,
        overrides=overrides,
    )
    return {"annotated": write_annotated(source, columns, folder, config.shards)}


def _write_parts(
    config: RunConfig, folder: RunFolder, source: DataSource, rows: RowDecision, fails: bool
) -> None:
    for name, positions in file_rows(rows, config.on_reject).items():
        written = None
        if not (name == "kept" and fails):
            written = source.write_subset(positions, folder.path, name, config.shards)
        folder.keep_only(name, written)


def file_rows(rows: RowDecision, on_reject: str) -> dict[str, tuple[int, ...]]:
    """The rows of each data file, in order; under `keep` rejected rows are in two of them."""
    kept = rows.kept
    if on_reject == "keep":
        kept = tuple(sorted((*rows.kept, *rows.rejected)))
    return {"removed": rows.removed, "rejected": rows.rejected, "kept": kept}
