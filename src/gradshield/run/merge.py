"""The step `merge`: from the shards of a run, in one folder or several, to a whole run."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gradshield.errors import UserError
from gradshield.files import sha256_of, written_whole
from gradshield.progress import Progress
from gradshield.run.engine import stored_engine
from gradshield.run.fingerprints import run_fingerprint
from gradshield.run.folder import RunFolder, difference, write_json
from gradshield.run.lock import at_work
from gradshield.run.reading import say_account
from gradshield.scoring.parts import StoredPart, account_of, read_part

MOST_SHOWN = 8
"""Row ranges that a message names."""


def merge(runs: Sequence[RunFolder], out: RunFolder, progress: Progress) -> None:
    """Join the scores of shards by the position of their rows; each row must be there once.

    Args:
        runs: Folders of shards of one run, at least one.
        out: The folder of the whole run: the only one of `runs`, which is completed in place, or
            a new one, into which the parts are copied. Where it holds a merge of the same run
            already, that is completed.
        progress: Told of the outcome.

    Raises:
        UserError: Rows are missing or doubled, or shards are of other inputs or of another
            direction; the text names row ranges. Nothing is written then.
    """
    with at_work(out, progress):
        _merge(runs, out, progress)


def _merge(runs: Sequence[RunFolder], out: RunFolder, progress: Progress) -> None:
    check_one_run(runs)
    run = expected_fingerprint(runs[0])
    parts = sorted(
        (_stored_part(path) for folder in runs for path in sorted(folder.scores.glob("*.parquet"))),
        key=lambda part: (part.rows.start, str(part.path)),
    )
    check_cover(parts, run)
    for part in parts:
        _check_rows(part)
    if out.path.resolve() != runs[0].path.resolve():
        _copy(runs[0], parts, out)
    account = account_of(out.scores)
    say_account(out.read_config(), account, progress)
    write_json(out.rejections, account.rejected)
    progress.say(f"{parts[0].total} rows in {len(parts)} parts, each row once.")


def check_one_run(runs: Sequence[RunFolder]) -> None:
    """See that folders are of one run: the same inputs, direction, engine and reference.

    Raises:
        UserError: They are not; the text says what differs.
    """
    first = runs[0]
    for folder in runs:
        if folder.read_identity() != first.read_identity():
            what = difference(folder.read_identity(), first.read_identity(), ("there", "here"))
            raise UserError(
                f"{folder.path} is of other inputs than {first.path} ({what}): merge the shards of "
                "one run only."
            )
        for path, name in (
            (first.direction, "direction"),
            (first.reference, "reference scores"),
            (first.engine, "engine"),
        ):
            other = folder.path / path.name
            if not other.is_file():
                raise UserError(f"{folder.path} has no {name}: finish its shards first.")
            if sha256_of(other) != sha256_of(path):
                raise UserError(
                    f"{folder.path} and {first.path} were scored with another {name}, so their "
                    "scores do not go together. Measure the direction once, with `gradshield "
                    "direction measure`, and let all shards start from that folder or a copy."
                )


def expected_fingerprint(folder: RunFolder) -> str:
    """What the parts of a run say of it in their footers."""
    identity = folder.read_identity()
    served = stored_engine(folder)["served"]
    return run_fingerprint(identity if served is None else {**identity, "served": served})


def check_cover(parts: Sequence[StoredPart], run: str) -> None:
    """See that parts, sorted by their rows, hold each row of the run once.

    Raises:
        UserError: They do not; the text names the rows.
    """
    if not parts:
        raise UserError("There are no scores to merge yet: run the shards first.")
    foreign = [part for part in parts if part.run != run or part.total != parts[0].total]
    if foreign:
        raise UserError(
            f"{_ranges(part.rows for part in foreign)} are of other inputs "
            f"({foreign[0].path}): score them again with the options of this run."
        )
    doubled, missing, end = [], [], 0
    for part in parts:
        if part.rows.start < end:
            doubled.append(range(part.rows.start, min(end, part.rows.stop)))
        elif part.rows.start > end:
            missing.append(range(end, part.rows.start))
        end = max(end, part.rows.stop)
    if end < parts[0].total:
        missing.append(range(end, parts[0].total))
    if doubled:
        raise UserError(
            f"{_ranges(doubled)} are there more than once: name each folder once, and leave out "
            "copies."
        )
    if missing:
        raise UserError(
            f"{_ranges(missing)} of {parts[0].total} are missing: run the shards that have not "
            "finished again, and name all folders."
        )


def _stored_part(path: Path) -> StoredPart:
    try:
        stored = read_part(path)
    except (pa.ArrowException, OSError, ValueError, KeyError) as fault:
        raise UserError(
            f"{path} is no part of a score table: delete it, and score again."
        ) from fault
    if stored is None:
        raise UserError(
            f"{path} does not say which rows it holds: it was written by an earlier version, or "
            "by something else. Score its run again."
        )
    return stored


def _check_rows(part: StoredPart) -> None:
    """See that a part holds the rows that it says."""
    rows = pq.ParquetFile(part.path).read(columns=["row"])["row"].to_numpy()
    if not np.array_equal(rows, np.arange(part.rows.start, part.rows.stop)):
        raise UserError(
            f"{part.path} should hold {_ranges([part.rows]).lower()}, but holds others: delete it "
            "and run its shard again."
        )


def _copy(first: RunFolder, parts: Sequence[StoredPart], out: RunFolder) -> None:
    """Copy a run without its outputs; in the order in which a run comes to be."""
    identity = first.read_identity()
    if out.holds_something() and out.read_identity() != identity:
        raise UserError(f"{out.path} holds another run: name another --out.")
    for name in ("provenance", "config", "answers", "direction", "engine", "reference"):
        source: Path = getattr(first, name)
        with written_whole(getattr(out, name)) as draft:
            shutil.copyfile(source, draft)
    for part in parts:
        with written_whole(out.scores / part.path.name) as draft:
            shutil.copyfile(part.path, draft)


def _ranges(ranges: Iterable[range]) -> str:
    """Row ranges for people; neighbours are joined."""
    joined: list[range] = []
    for rows in sorted(ranges, key=lambda rows: rows.start):
        if joined and rows.start <= joined[-1].stop:
            joined[-1] = range(joined[-1].start, max(joined[-1].stop, rows.stop))
        else:
            joined.append(rows)
    shown = ", ".join(f"{rows.start} to {rows.stop - 1}" for rows in joined[:MOST_SHOWN])
    more = f" and {len(joined) - MOST_SHOWN} more ranges" if joined[MOST_SHOWN:] else ""
    return f"Rows {shown}{more}"
