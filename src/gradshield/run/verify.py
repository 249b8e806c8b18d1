"""Is a run folder still what its record says? Hashes and the account of the rows, without a model.

Every check is a function that returns what it found, or raises what is wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from gradshield.config import RunConfig
from gradshield.data import DataSource
from gradshield.errors import UserError
from gradshield.files import sha256_of
from gradshield.run.apply import file_rows
from gradshield.run.fingerprints import fingerprints_of, row_fingerprint
from gradshield.run.folder import RunFolder, read_json
from gradshield.run.outputs import read_outputs, trail_record
from gradshield.run.overrides import check_trail, in_effect, read_overrides
from gradshield.run.source import check_unchanged, reopen_input
from gradshield.run.threshold import counted, divide, read_decision, read_scores
from gradshield.scoring.table import ScoreTable


@dataclass(frozen=True)
class Check:
    """One thing that was checked: its name, whether it holds, and what was found."""

    name: str
    holds: bool
    text: str


def checked(name: str, check: Callable[[], str]) -> Check:
    """Run a check; whatever damage makes it fail is what it found."""
    try:
        return Check(name, True, check())
    except UserError as fault:
        return Check(name, False, str(fault))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as fault:
        # A file that somebody edited can hold anything.
        reason = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
        return Check(name, False, f"a file of the run cannot be read: {reason}")


def verify_files(config: RunConfig, folder: RunFolder) -> list[Check]:
    """Check hashes of input and outputs, and that every row is where decision and overrides put it.

    Args:
        config: The configuration of the run.
        folder: The run folder.
    """

    @cache
    def source() -> DataSource:
        return reopen_input(config, folder)

    @cache
    def table() -> ScoreTable:
        return read_scores(folder)

    @cache
    def fingerprints() -> list[str]:
        return fingerprints_of(source())

    checks: dict[str, Callable[[], str]] = {
        "input": lambda: _input(folder, source()),
        "scores": lambda: _scores(folder, source(), table()),
        "rejections": lambda: _rejections(folder, table()),
        "overrides": lambda: _overrides(folder, fingerprints()),
        "decision": lambda: _decision(folder, table()),
        "outputs": lambda: _outputs(folder),
        "rows": lambda: _rows(config, folder, source(), table(), fingerprints()),
    }
    return [checked(name, check) for name, check in checks.items()]


def _input(folder: RunFolder, source: DataSource) -> str:
    sha256 = folder.read_identity()["data_sha256"]
    check_unchanged(source, sha256)
    return f"{source.location} is what was scored (SHA-256 {sha256[:12]}…)."


def _scores(folder: RunFolder, source: DataSource, table: ScoreTable) -> str:
    expected = source.facts.rows
    if not np.array_equal(table.row, np.arange(expected)):
        raise UserError(
            f"The score table does not have each of the {expected} rows of the input once: score "
            "again with --force."
        )
    wrong = np.flatnonzero(table.scored != np.isfinite(table.fihs))
    if len(wrong):
        raise UserError(f"The score table has no finite score for row {wrong[0]}.")
    unsaid = [row for row, reason in table.reasons.items() if not reason]
    if unsaid:
        raise UserError(f"The score table does not say why row {unsaid[0]} has no score.")
    sha256 = sha256_of(folder.scores)
    if sha256 != read_outputs(folder)["scores_sha256"]:
        raise UserError("The score table is not the one that the data files were written from.")
    return f"each of the {expected} rows once, unchanged since the files were written."


def _rejections(folder: RunFolder, table: ScoreTable) -> str:
    told = [(entry["row"], entry["reason"]) for entry in read_json(folder.rejections)]
    rejected = [(row, reason.partition(": ")[0]) for row, reason in table.reasons.items()]
    if told != rejected:
        raise UserError("rejections.json does not name the rows that the score table rejects.")
    return f"the {len(rejected)} rejected rows have a reason each."


def _overrides(folder: RunFolder, fingerprints: Sequence[str]) -> str:
    recorded = read_overrides(folder)
    check_trail(recorded, fingerprints, folder.overrides)
    trail = read_outputs(folder)["trail"]
    if trail_record(folder, trail["bytes"]) != trail:
        raise UserError(
            f"{folder.overrides} only ever grows, but a line that the data files were written from "
            "was changed or deleted."
        )
    now = {row: override.action for row, override in in_effect(recorded).items()}
    then = {int(row): action for row, action in read_outputs(folder)["overrides"].items()}
    if now != then:
        rows = sorted(row for row in {*now, *then} if now.get(row) != then.get(row))
        raise UserError(
            f"{_rows_text(rows)}: marked, withdrawn or expired since the files were written. Run "
            "`gradshield apply` again."
        )
    return f"{len(recorded)} lines, all for the rows as they are; {len(now)} in effect."


def _decision(folder: RunFolder, table: ScoreTable) -> str:
    decision = read_decision(folder)
    limit = decision["threshold"]
    counts = counted(table, limit, in_effect(read_overrides(folder)))
    wrong = [name for name, value in counts.items() if decision[name] != value]
    if wrong:
        raise UserError(
            f"decision.json has other {', '.join(wrong)} than scores and overrides give. Run "
            "`gradshield apply` again."
        )
    return (
        f"{decision['kept']} kept, {decision['removed']} removed, {decision['rejected']} rejected."
    )


def _outputs(folder: RunFolder) -> str:
    files = read_outputs(folder)["files"]
    for name, sha256 in files.items():
        path = folder.path / Path(name).name
        if not path.exists():
            raise UserError(f"{name} is gone: run `gradshield apply` again.")
        if sha256_of(path) != sha256:
            raise UserError(
                f"{name} was changed after it was written: run `gradshield apply` again."
            )
    return f"{', '.join(files)} are as they were written."


def _rows(
    config: RunConfig,
    folder: RunFolder,
    source: DataSource,
    table: ScoreTable,
    fingerprints: Sequence[str],
) -> str:
    """Compare what each file holds with what it should hold, row by row."""
    overrides = in_effect(read_overrides(folder))
    rows = divide(table, read_decision(folder)["threshold"], overrides)
    if sorted((*rows.kept, *rows.removed, *rows.rejected)) != list(range(len(fingerprints))):
        raise UserError("Not every row of the input is kept, removed or rejected once.")
    for name, positions in file_rows(rows, config.on_reject).items():
        written = folder.written(name)
        if name == "kept" and config.on_reject == "fail" and rows.rejected:
            if written:
                raise UserError(f"{written[0]} is there, in spite of --on-reject fail.")
            continue
        if not written:
            raise UserError(f"There is no {name} file: run `gradshield apply` again.")
        held = [row_fingerprint(row) for row in source.subset_rows(written[0])]
        _compare([fingerprints[position] for position in positions], held, written[0])
    return f"each of the {len(fingerprints)} rows is once where decision and overrides put it."


def _compare(expected: Sequence[str], held: Sequence[str], path: Path) -> None:
    if expected == held:
        return
    missing, more = Counter(expected) - Counter(held), Counter(held) - Counter(expected)
    what = (
        f"lacks {missing.total()} rows and has {more.total()} that do not belong there"
        if missing or more
        else "has its rows in another order"
    )
    raise UserError(f"{path.name} {what}: run `gradshield apply` again.")


def _rows_text(rows: Sequence[Any]) -> str:
    shown = ", ".join(map(str, rows[:5]))
    more = f" and {len(rows) - 5} more" if rows[5:] else ""
    return f"{'row' if len(rows) == 1 else 'rows'} {shown}{more}"
