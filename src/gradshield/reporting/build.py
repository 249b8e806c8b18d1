"""From what a run folder holds to its report: rows are made of columns as they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt

from gradshield.reporting.content import RunContent, decision_record, run_record, search_record
from gradshield.reporting.document import (
    Counts,
    Finding,
    Outcome,
    ReportHead,
    ReportRow,
    SourceShare,
)
from gradshield.reporting.duplicates import near_duplicates
from gradshield.reporting.evidence import (
    FINDINGS,
    Evidence,
    Flags,
    Ints,
    RowEvidence,
    rejection_code,
)
from gradshield.reporting.limits import LIMITS
from gradshield.reporting.places import MOST_SOURCES
from gradshield.reporting.shingles import responses_of

OVERRULED = "overruled"
OUTCOMES: Mapping[str, Outcome] = {"keep": "kept", "remove": "removed"}
"""What becomes of a row on a reviewer's word."""


@dataclass(frozen=True)
class Report:
    """The report of a run: what it says as a whole, and each row when it is asked for.

    Attributes:
        run: What the run folder holds.
        evidence: On all rows.
        redact: Leave out what can hold text of the data: ids, sources, details of rejections, the
            reasons of overrides, and paths.
    """

    run: RunContent
    evidence: Evidence
    redact: bool

    def __len__(self) -> int:
        return len(self.evidence)

    def rows(self, positions: Ints | None = None) -> Iterator[ReportRow]:
        """These rows in their order, or all, made one after the other."""
        wanted = np.arange(len(self)) if positions is None else positions
        return (self._row(found) for found in self.evidence.of(wanted))

    @cached_property
    def overruled(self) -> tuple[int, ...]:
        """Rows whose outcome a reviewer changed."""
        evidence = self.evidence
        return tuple(
            row
            for row, said in self.run.overrides.items()
            if not (evidence.kept if said.action == "keep" else evidence.removed)[row]
        )

    @cached_property
    def outcomes(self) -> dict[Outcome, Flags]:
        """By outcome, after overrides, the rows that have it; [rows]."""
        evidence = self.evidence
        found: dict[Outcome, Flags] = {
            "kept": evidence.kept.copy(),
            "removed": evidence.removed.copy(),
            "rejected": ~evidence.table.scored,
        }
        for row, said in self.run.overrides.items():
            for outcome, rows in found.items():
                rows[row] = outcome == OUTCOMES[said.action]
        return found

    @cached_property
    def head(self) -> ReportHead:
        """What the report says of the run as a whole."""
        run = self.run
        return ReportHead(
            redacted=self.redact,
            run=run_record(run, self.redact),
            decision=decision_record(run.decision),
            counts=self._counts(),
            findings=self._findings(),
            sources=self._shares(),
            search=search_record(run),
            models=tuple(run.models),
            limits=LIMITS,
        )

    def _row(self, found: RowEvidence) -> ReportRow:
        place = None if self.run.places is None else self.run.places[found.row]
        override, outcome = self.run.overrides.get(found.row), found.state
        if override is not None:
            outcome = OUTCOMES[override.action]
            override = override.model_copy(update={"reason": None}) if self.redact else override
        reason = found.reason
        if reason is not None and self.redact:
            reason = rejection_code(reason)
        return ReportRow(
            row=found.row,
            line=None if place is None else place.line,
            file=None if place is None or self.redact else place.file,
            id=None if self.redact else found.id,
            source=self._source_names[self._source_numbers[found.row]],
            fingerprint=None if place is None else place.fingerprint,
            state=found.state,
            outcome=outcome,
            reason=reason,
            fihs=found.fihs,
            loss=found.loss,
            response_tokens=found.response_tokens,
            truncated=found.truncated,
            rank=found.rank,
            percentile=found.percentile,
            distance=found.distance,
            nearest_kept=found.nearest_kept,
            nearest_removed=found.nearest_removed,
            duplicate_group=found.group,
            findings=(*found.findings, *((OVERRULED,) if outcome != found.state else ())),
            override=override,
        )

    @cached_property
    def _source_names(self) -> tuple[str, ...]:
        """The different sources; the last is that of rows without one."""
        places, name = self.run.places, self.run.data_name
        if self.redact or places is None or len(places.sources) > MOST_SOURCES:
            return (name,)
        return (*places.sources, name)

    @cached_property
    def _source_numbers(self) -> npt.NDArray[np.int32]:
        """The place of each row's source in `_source_names`, -1 for the last; [rows]."""
        if len(self._source_names) == 1 or self.run.places is None:
            return np.full(len(self), -1, dtype=np.int32)
        return self.run.places.source_numbers()

    def _counts(self) -> Counts:
        return Counts(
            rows=len(self),
            **{outcome: int(rows.sum()) for outcome, rows in self.outcomes.items()},
            overruled=len(self.overruled),
        )

    def _findings(self) -> tuple[Finding, ...]:
        table = self.evidence.table
        counted = Counter(map(rejection_code, table.reasons.values()))
        counted["rejected"] += len(table.reasons)
        for code, rows in self.evidence.findings.items():
            counted[code] += int(rows.sum())
        counted[OVERRULED] += len(self.overruled)
        meanings = {**FINDINGS, OVERRULED: "A reviewer decided otherwise than the threshold."}
        codes = [*meanings, *sorted(set(counted) - set(meanings))]
        return tuple(
            Finding(
                code=code,
                meaning=meanings.get(code, "Reason of a rejection."),
                rows=counted[code],
            )
            for code in codes
            if counted[code]
        )

    def _shares(self) -> tuple[SourceShare, ...]:
        """Sources, the most frequent first and of equally frequent ones the one met first."""
        numbers = self._source_numbers
        total: Counter[str] = Counter()
        removed: Counter[str] = Counter()
        _, first = np.unique(numbers, return_index=True)
        for number in numbers[np.sort(first)].tolist():
            rows, name = numbers == number, self._source_names[number]
            total[name] += int(rows.sum())
            removed[name] += int((rows & self.outcomes["removed"]).sum())
        return tuple(
            SourceShare(source=source, rows=count, removed=removed[source])
            for source, count in total.most_common()
        )


def build_report(run: RunContent, *, redact: bool = False) -> Report:
    """The report of a run; of `redact` see `Report`."""
    groups = near_duplicates(partial(responses_of, run.table), len(run.table))
    return Report(run, Evidence(run.table, groups, run.decision["threshold"]), redact)
