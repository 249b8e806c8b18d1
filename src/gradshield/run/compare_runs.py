"""What changed between two runs: model, threshold or data, and what became of the rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from gradshield.errors import UserError
from gradshield.run.fingerprints import digests_of
from gradshield.run.folder import RunFolder
from gradshield.run.overrides import in_effect, read_overrides
from gradshield.run.same_rows import Pairs, no_pairs, others, same_content, same_id
from gradshield.run.source import check_unchanged, reopen_input
from gradshield.run.threshold import Outcome, divide, read_decision, read_scores
from gradshield.scoring.table import ScoreColumns


@dataclass(frozen=True)
class ChangedRow:
    """A row that the two runs decided differently.

    Attributes:
        first_row: 0-based position in the first input.
        second_row: In the second.
        id: The row's own id, None without one.
        first: What became of it in the first run, overrides included.
        second: In the second.
        first_fihs: Its score in the first run, None if rejected.
        second_fihs: In the second.
    """

    first_row: int
    second_row: int
    id: str | None
    first: Outcome
    second: Outcome
    first_fihs: float | None
    second_fihs: float | None


@dataclass(frozen=True)
class RunComparison:
    """Two runs beside each other.

    Attributes:
        settings: What made the runs and is not the same in both, as pairs; None where one lacks it.
        matched_by: How rows of the two were found to be the same one.
        counts: Rows by what became of them, in the first and in the second run.
        pairs: Rows that both inputs hold.
        edited: Pairs with the same id but another text.
        only_first: Positions of rows that only the first input holds.
        only_second: The same of the second.
        moves: How many pairs went from where to where, as in "kept → removed".
        changed: Those pairs, by position.
        rank_correlation: Spearman's, of the scores of pairs that both runs scored; None where there
            are too few, or all the same.
    """

    settings: Mapping[str, tuple[Any, Any]]
    matched_by: str
    counts: Mapping[str, tuple[int, int]]
    pairs: int
    edited: int
    only_first: tuple[int, ...]
    only_second: tuple[int, ...]
    moves: Mapping[str, int]
    changed: tuple[ChangedRow, ...]
    rank_correlation: float | None

    @property
    def same_rows(self) -> bool:
        """Whether both hold the same rows, and the same became of each."""
        return not (self.changed or self.edited or self.only_first or self.only_second)


@dataclass(frozen=True)
class _Run:
    settings: Mapping[str, Any]
    table: ScoreColumns
    outcomes: npt.NDArray[np.object_]
    fingerprints: npt.NDArray[np.bytes_] | None


def compare_runs(first: RunFolder, second: RunFolder) -> RunComparison:
    """Compare two runs row by row.

    Rows of the same input are the same by position. Of two inputs, rows are the same if their
    content is, or else if both have the same id that no other row has.

    Raises:
        UserError: A folder holds no run, or one without scores or decision, or the inputs differ
            and are gone, and the rows have no ids.
    """
    same_data = _data(first) == _data(second)
    a, b = (_read(folder, with_text=not same_data) for folder in (first, second))
    if same_data:
        pairs = np.stack(2 * [np.arange(len(a.table))], axis=1)
        matched_by, edited = "position", 0
    else:
        pairs, edited = _matched(a, b)
        known = a.fingerprints is not None and b.fingerprints is not None
        matched_by = "content or id" if known else "id"
        if not (len(pairs) or known):
            raise UserError(
                f"The inputs of {first.path} and {second.path} differ, one of them is gone or has "
                "changed, and no ids tell which rows are the same: put the data back."
            )
    changed = _changed(a, b, pairs)
    return RunComparison(
        settings=_differences(a.settings, b.settings),
        matched_by=matched_by,
        counts=_counts(a, b),
        pairs=len(pairs),
        edited=edited,
        only_first=tuple(np.flatnonzero(others(len(a.table), pairs[:, 0])).tolist()),
        only_second=tuple(np.flatnonzero(others(len(b.table), pairs[:, 1])).tolist()),
        moves=dict(Counter(f"{row.first} → {row.second}" for row in changed)),
        changed=changed,
        rank_correlation=_rank_correlation(a, b, pairs),
    )


def _data(folder: RunFolder) -> str:
    return str(folder.read_identity()["data_sha256"])


def _read(folder: RunFolder, *, with_text: bool) -> _Run:
    table, decision = read_scores(folder), read_decision(folder)
    config, limit = folder.read_config(), decision["threshold"]
    made_by = {
        "threshold": limit if math.isfinite(limit) else None,
        "method": decision["method"],
        **{name: decision.get(name) for name in ("level", "seed")},
        "on_reject": config.on_reject,
        "action": config.action,
        "overrides": len(overrides := in_effect(read_overrides(folder))),
    }
    return _Run(
        {**folder.read_identity(), **made_by},
        table,
        divide(table, limit, overrides).outcomes,
        _fingerprints(folder) if with_text else None,
    )


def _fingerprints(folder: RunFolder) -> npt.NDArray[np.bytes_] | None:
    """Fingerprints of the rows that were scored, None where they are gone or have changed."""
    try:
        source = reopen_input(folder.read_config(), folder)
        check_unchanged(source, _data(folder))
    except UserError:
        return None
    return digests_of(source)


def _matched(a: _Run, b: _Run) -> tuple[Pairs, int]:
    """Pairs of rows, and how many of them are the same by their id alone."""
    known = a.fingerprints is not None and b.fingerprints is not None
    same = no_pairs()
    if a.fingerprints is not None and b.fingerprints is not None:
        same = same_content(a.fingerprints, b.fingerprints)
    by_id = same_id(a.table.id, b.table.id, same)
    pairs = np.concatenate([same, by_id])
    return pairs[np.argsort(pairs[:, 0])], len(by_id) if known else 0


def _differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {name: (a.get(name), b.get(name)) for name in {**a, **b} if a.get(name) != b.get(name)}


def _counts(a: _Run, b: _Run) -> dict[str, tuple[int, int]]:
    found = [Counter(run.outcomes.tolist()) for run in (a, b)]
    return {name: (found[0][name], found[1][name]) for name in ("kept", "removed", "rejected")}


def _changed(a: _Run, b: _Run, pairs: Pairs) -> tuple[ChangedRow, ...]:
    differ = pairs[a.outcomes[pairs[:, 0]] != b.outcomes[pairs[:, 1]]]
    return tuple(
        ChangedRow(
            first_row=one,
            second_row=other,
            id=a.table.id[one].as_py(),
            first=a.outcomes[one],
            second=b.outcomes[other],
            first_fihs=_score(a, one),
            second_fihs=_score(b, other),
        )
        for one, other in differ.tolist()
    )


def _score(run: _Run, row: int) -> float | None:
    return float(run.table.fihs[row]) if run.table.scored[row] else None


def _rank_correlation(a: _Run, b: _Run, pairs: Pairs) -> float | None:
    both = np.stack([a.table.fihs[pairs[:, 0]], b.table.fihs[pairs[:, 1]]], axis=1)
    both = both[~np.isnan(both).any(axis=1)]
    if len(both) < 3 or np.ptp(both, axis=0).min() == 0:
        return None
    return float(spearmanr(both[:, 0], both[:, 1]).statistic)
