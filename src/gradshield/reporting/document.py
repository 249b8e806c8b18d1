"""`report.json`: the account of a run for other programs, and its JSON Schema.

Everything else that a report is written as (page, Markdown, SARIF, data card) is made of it. It
holds no text of the conversations. The schema is `docs/report.schema.json`, which
`python -m gradshield.reporting.document` prints; a change that a reader would notice raises
`VERSION`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

VERSION: Literal[1] = 1

Outcome = Literal["kept", "removed", "rejected"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Override(_Part):
    """What a reviewer decided about a row, against or with the threshold."""

    action: Literal["keep", "remove"]
    reviewer: str
    time: str = Field(description="UTC, as in 2026-11-26T07:00:00Z.")
    reason: str | None = Field(description="Free text; null in a redacted report.")


class ReportRow(_Part):
    """One row of the input; every row is in the report once."""

    row: int = Field(description="0-based position in the input.")
    line: int | None = Field(description="1-based line in the file; null where it has no lines.")
    file: str | None = Field(
        description="Which of several files; null where there is one, and in a redacted report."
    )
    id: str | None = Field(description="The row's own id; null in a redacted report.")
    source: str = Field(description="The row's own source field, else the name of the file.")
    fingerprint: str | None = Field(description="SHA-256 of the row, null if the input is gone.")
    state: Outcome = Field(description="What the threshold makes of the row.")
    outcome: Outcome = Field(description="What became of it, after overrides.")
    reason: str | None = Field(description="Code and detail of a rejection.")
    fihs: float | None = Field(description="Per unit direction; positive means harmful.")
    loss: float | None = Field(description="Mean loss of the response tokens, in nats.")
    response_tokens: int | None
    truncated: bool | None
    rank: int | None = Field(description="1 is the highest score.")
    percentile: float | None = Field(
        description="Percentage of scored rows that score as much or less."
    )
    distance: float | None = Field(description="FIHS minus threshold.")
    nearest_kept: tuple[int, ...] = Field(description="Kept rows with the nearest scores.")
    nearest_removed: tuple[int, ...]
    duplicate_group: int | None = Field(
        description="Rows with the same number have nearly the same response tokens."
    )
    findings: tuple[str, ...] = Field(description="Codes, explained under `findings`.")
    override: Override | None


class Counts(_Part):
    """Rows by what became of them, after overrides, and rows that reviewers decided on."""

    rows: int
    kept: int
    removed: int
    rejected: int
    overruled: int = Field(description="Rows whose outcome a reviewer changed.")


class DecisionRecord(_Part):
    """The threshold and how it came about."""

    threshold: float | None = Field(description="Null where nothing is removed.")
    method: str
    reason: str
    warnings: tuple[str, ...]
    level: float | None = Field(description="Tolerated share of harmless rows lost.")
    seed: int | None


class Finding(_Part):
    """A kind of finding and the number of rows that have it."""

    code: str
    meaning: str
    rows: int


class SourceShare(_Part):
    """Rows of one source and how many of them were removed."""

    source: str
    rows: int
    removed: int


class MeasuredModel(_Part):
    """A model of the search, on prompts that no choice depended on; shares in [0, 1]."""

    name: str
    rows: int
    validation_asr: float
    test_asr: float
    test_asr_low: float = Field(description="Lower end of the 95 % Wilson interval.")
    test_asr_high: float
    over_refusal: float
    over_refusal_low: float
    over_refusal_high: float
    utility: float = Field(description="As the search measured it; its interval is not known.")


class SearchPoint(_Part):
    """A kept set that the search finetuned on and measured."""

    kept: int
    kept_share: float
    threshold: float | None
    attack_success_rate: float
    low: float
    high: float
    utility: float
    safe: bool
    useful: bool


class SearchRecord(_Part):
    """The search for the threshold, in the order in which it measured."""

    status: str
    target: float
    points: tuple[SearchPoint, ...]


class RunRecord(_Part):
    """What made the run."""

    data: str
    data_sha256: str
    fingerprint: str = Field(description="SHA-256 of `identity`: what decides the scores.")
    started: str | None
    command: tuple[str, ...] | None = Field(description="Null in a redacted report.")
    reduction: str
    loss: dict[str, str] = Field(
        description="Whose loss was scored: trainer profile or preference loss, and its averaging."
    )
    on_reject: str
    action: str
    identity: dict[str, Any]
    versions: dict[str, str]
    hardware: dict[str, Any]
    engine: tuple[str, ...] = Field(description="The engine that scored, and its warnings.")


class ReportHead(_Part):
    """What a report says of a run as a whole."""

    version: Literal[1] = VERSION
    redacted: bool
    run: RunRecord
    decision: DecisionRecord
    counts: Counts
    findings: tuple[Finding, ...]
    sources: tuple[SourceShare, ...]
    search: SearchRecord | None
    models: tuple[MeasuredModel, ...]
    limits: tuple[str, ...] = Field(description="What the method cannot see.")


class ReportDocument(ReportHead):
    """The report of one run of GradShield."""

    rows: tuple[ReportRow, ...]


def report_json(head: ReportHead, rows: Iterable[ReportRow]) -> Iterator[str]:
    """A `ReportDocument` as JSON, piece by piece: a row a line, to be compared line by line."""
    content = head.model_dump(mode="json")
    yield json.dumps(content, indent=1, ensure_ascii=False).removesuffix("\n}")
    yield ',\n "rows": ['
    for number, row in enumerate(rows):
        line = json.dumps(row.model_dump(mode="json"), ensure_ascii=False)
        yield f"{',' if number else ''}\n  {line}"
    yield "\n ]\n}\n"


def report_schema() -> str:
    """The JSON Schema of `report.json`."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **ReportDocument.model_json_schema(mode="serialization"),
    }
    return json.dumps(schema, indent=2) + "\n"


if __name__ == "__main__":
    print(report_schema(), end="")
