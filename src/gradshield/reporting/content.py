"""What a run folder holds, and what a report says of the run as a whole: not of its rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gradshield.config import RunConfig
from gradshield.reporting.document import (
    DecisionRecord,
    MeasuredModel,
    Override,
    RunRecord,
    SearchPoint,
    SearchRecord,
)
from gradshield.reporting.places import Places
from gradshield.scoring.table import ScoreTable

WITHHELD = "withheld"


@dataclass(frozen=True)
class RunContent:
    """What a run folder holds, read.

    Attributes:
        config: The resolved configuration.
        table: The score table.
        decision: `decision.json`; its threshold may be infinite.
        provenance: `provenance.json`.
        fingerprint: SHA-256 of the identity in it.
        data_name: Name of the data file.
        places: By row; None where the input is gone or has changed.
        overrides: What reviewers decided, by row.
        engine: `engine.json`, empty for a run from before there was one.
        models: The models that a search measured.
        trace: `search/trace.json`, None without a search.
    """

    config: RunConfig
    table: ScoreTable
    decision: Mapping[str, Any]
    provenance: Mapping[str, Any]
    fingerprint: str
    data_name: str
    places: Places | None = None
    overrides: Mapping[int, Override] = field(default_factory=dict)
    engine: Mapping[str, Any] = field(default_factory=dict)
    models: Sequence[MeasuredModel] = ()
    trace: Mapping[str, Any] | None = None


def run_record(run: RunContent, redact: bool) -> RunRecord:
    """What made the run; redacted, without paths and the command."""
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


def decision_record(decision: Mapping[str, Any]) -> DecisionRecord:
    """The threshold and how it came about, from `decision.json`."""
    threshold = decision["threshold"]
    return DecisionRecord(
        threshold=threshold if math.isfinite(threshold) else None,
        method=decision["method"],
        reason=decision["reason"],
        warnings=tuple(decision.get("diagnostics", {}).get("warnings", ())),
        level=decision.get("level"),
        seed=decision.get("seed"),
    )


def search_record(run: RunContent) -> SearchRecord | None:
    """What a search measured, None where there was none."""
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
