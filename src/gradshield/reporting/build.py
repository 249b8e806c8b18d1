"""From what a run folder holds to the document of its report; pure functions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gradshield.config import RunConfig
from gradshield.reporting.document import (
    Counts,
    DecisionRecord,
    Finding,
    MeasuredModel,
    Outcome,
    Override,
    ReportDocument,
    ReportRow,
    RunRecord,
    SearchPoint,
    SearchRecord,
    SourceShare,
)
from gradshield.reporting.evidence import FINDINGS, RowEvidence, gather_evidence, rejection_code
from gradshield.reporting.limits import LIMITS

MOST_SOURCES = 50
"""With more different sources they are no sources: all rows count as those of the file."""

WITHHELD = "withheld"
OVERRULED = "overruled"


@dataclass(frozen=True)
class RowPlace:
    """Where a row stands in its file.

    Attributes:
        line: 1-based line, None where the file has no lines.
        source: The row's own source field, or its file where there are several; else None.
        fingerprint: SHA-256 of the row.
        file: Which of several files it is in, None where there is only one.
    """

    line: int | None
    source: str | None
    fingerprint: str
    file: str | None = None


@dataclass(frozen=True)
class RunContent:
    """What a run folder holds, read.

    Attributes:
        config: The resolved configuration.
        lines: The score table.
        decision: `decision.json`; its threshold may be infinite.
        provenance: `provenance.json`.
        fingerprint: SHA-256 of the identity in it.
        data_name: Name of the data file.
        places: By row; empty where the input is gone or has changed.
        overrides: What reviewers decided, by row.
        engine: `engine.json`, empty for a run from before there was one.
        models: The models that a search measured.
        trace: `search/trace.json`, None without a search.
    """

    config: RunConfig
    lines: Sequence[Mapping[str, Any]]
    decision: Mapping[str, Any]
    provenance: Mapping[str, Any]
    fingerprint: str
    data_name: str
    places: Mapping[int, RowPlace] = field(default_factory=dict)
    overrides: Mapping[int, Override] = field(default_factory=dict)
    engine: Mapping[str, Any] = field(default_factory=dict)
    models: Sequence[MeasuredModel] = ()
    trace: Mapping[str, Any] | None = None


def build_document(run: RunContent, *, redact: bool = False) -> ReportDocument:
    """The report of a run.

    Args:
        run: What the run folder holds.
        redact: Leave out what can hold text of the data: ids, sources, details of rejections, the
            reasons of overrides, and paths.
    """
    evidence = gather_evidence(run.lines, run.decision["threshold"])
    sources = _sources(run, redact)
    rows = tuple(_row(run, found, sources[found.row], redact) for found in evidence.values())
    return ReportDocument(
        redacted=redact,
        run=_run_record(run, redact),
        decision=_decision(run.decision),
        counts=_counts(rows),
        findings=_findings(rows),
        sources=_shares(rows),
        search=_search(run),
        models=tuple(run.models),
        limits=LIMITS,
        rows=rows,
    )


def _row(run: RunContent, found: RowEvidence, source: str, redact: bool) -> ReportRow:
    place, override = run.places.get(found.row), run.overrides.get(found.row)
    outcome: Outcome = found.state
    if override is not None:
        outcome = "kept" if override.action == "keep" else "removed"
        override = override.model_copy(update={"reason": None}) if redact else override
    reason = found.reason
    if reason is not None and redact:
        reason = rejection_code(reason)
    return ReportRow(
        row=found.row,
        line=None if place is None else place.line,
        file=None if place is None or redact else place.file,
        id=None if redact else found.id,
        source=source,
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


def _sources(run: RunContent, redact: bool) -> dict[int, str]:
    """The source of each row."""
    own = {row: place.source for row, place in run.places.items() if place.source is not None}
    if redact or not 1 <= len(set(own.values())) <= MOST_SOURCES:
        own = {}
    return {line["row"]: own.get(line["row"], run.data_name) for line in run.lines}


def _run_record(run: RunContent, redact: bool) -> RunRecord:
    provenance, warning = run.provenance, run.engine.get("warning")
    identity = dict(provenance["identity"])
    if redact:
        paths = [name for name in ("model", "adapter") if _is_path(identity.get(name))]
        identity |= dict.fromkeys(paths, WITHHELD)
    return RunRecord(
        data=run.data_name if redact else run.config.data_path,
        data_sha256=identity.get("data_sha256", ""),
        fingerprint=run.fingerprint,
        started=provenance.get("started"),
        command=None if redact else tuple(provenance.get("command", ())),
        reduction=run.config.scoring.reduction,
        loss=_loss(run),
        on_reject=run.config.on_reject,
        action=run.config.action,
        identity=identity,
        versions=provenance.get("versions", {}),
        hardware=provenance.get("hardware", {}),
        engine=(*run.engine.get("notes", ()), *(() if warning is None else (warning,))),
    )


def _loss(run: RunContent) -> dict[str, str]:
    preference = run.engine.get("preference")
    return {"preference": preference} if preference else dict(run.provenance.get("loss", {}))


def _is_path(name: object) -> bool:
    return isinstance(name, str) and (name.count("/") > 1 or name.startswith((".", "/", "~")))


def _decision(decision: Mapping[str, Any]) -> DecisionRecord:
    threshold = decision["threshold"]
    return DecisionRecord(
        threshold=threshold if math.isfinite(threshold) else None,
        method=decision["method"],
        reason=decision["reason"],
        warnings=tuple(decision.get("diagnostics", {}).get("warnings", ())),
        level=decision.get("level"),
        seed=decision.get("seed"),
    )


def _counts(rows: Sequence[ReportRow]) -> Counts:
    found = Counter(row.outcome for row in rows)
    return Counts(
        rows=len(rows),
        kept=found["kept"],
        removed=found["removed"],
        rejected=found["rejected"],
        overruled=sum(row.outcome != row.state for row in rows),
    )


def _findings(rows: Sequence[ReportRow]) -> tuple[Finding, ...]:
    counted = Counter(code for row in rows for code in row.findings)
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


def _shares(rows: Sequence[ReportRow]) -> tuple[SourceShare, ...]:
    total = Counter(row.source for row in rows)
    removed = Counter(row.source for row in rows if row.outcome == "removed")
    return tuple(
        SourceShare(source=source, rows=count, removed=removed[source])
        for source, count in total.most_common()
    )


def _search(run: RunContent) -> SearchRecord | None:
    if run.trace is None or run.config.search is None:
        return None
    shared = SearchPoint.model_fields.keys() - {"low", "high"}
    points = [
        SearchPoint(**{name: point[name] for name in shared}, **point["interval"])
        for point in run.trace["points"]
    ]
    return SearchRecord(
        status=run.trace.get("status", "unfinished"),
        target=run.config.search.target_asr,
        points=tuple(points),
    )
