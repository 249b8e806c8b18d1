"""`report.sarif`: removed rows as findings of a static analysis, for code-scanning pages.

SARIF 2.1.0 (OASIS, 2020). One result for each row that the threshold removes or a reviewer does. A
row that a reviewer keeps stays in the list, with a suppression that says who and why.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from textwrap import indent
from typing import Any
from urllib.parse import quote

from gradshield.reporting.document import ReportHead, ReportRow
from gradshield.reporting.wording import number

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
FINGERPRINT = "gradshieldRow/v1"
"""Name of the row's SHA-256 among the partial fingerprints of a result."""

BY_SCORE, BY_REVIEWER = "high_fihs", "removed_by_reviewer"

_RULES: tuple[tuple[str, str, str], ...] = (
    (
        BY_SCORE,
        "The row scores at or above the threshold.",
        "Training on this row alone would, to first order, raise the model's unsafety on held-out "
        "harmful prompts by more than the threshold allows.",
    ),
    (
        BY_REVIEWER,
        "A reviewer removed the row.",
        "The row scores below the threshold, or could not be scored, and a reviewer removed it.",
    ),
)


def sarif_log(head: ReportHead, removed: Iterable[ReportRow]) -> Iterator[str]:
    """The log as JSON text, piece by piece.

    Args:
        head: What the report says of the run.
        removed: The rows that the threshold or a reviewer removes.
    """
    before, after = json.dumps(_log(head), indent=1, ensure_ascii=False).split(_NO_RESULTS)
    yield f"{before}{_NO_RESULTS[:-1]}"
    end = ""
    for row in removed:
        result = json.dumps(_result(row, head), indent=1, ensure_ascii=False)
        yield f"{',' if end else ''}\n{indent(result, _WITHIN)}"
        end = f"\n{_WITHIN[:-1]}"
    yield f"{end}]{after}\n"


_NO_RESULTS = '"results": []'
"""No text within the log has this, since JSON writes quotes within texts as \\"."""
_WITHIN = " " * 4


def _log(head: ReportHead) -> dict[str, Any]:
    """The log without results."""
    rules = [
        {
            "id": name,
            "shortDescription": {"text": short},
            "fullDescription": {"text": full},
            "defaultConfiguration": {"level": "warning"},
        }
        for name, short, full in _RULES
    ]
    driver = {
        "name": "GradShield",
        "semanticVersion": head.run.versions.get("gradshield", "0.0.0"),
        "rules": rules,
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "utf16CodeUnits",
        "artifacts": [
            {"location": {"uri": _uri(head)}, "hashes": {"sha-256": head.run.data_sha256}}
        ],
        "results": [],
        "properties": {
            "threshold": head.decision.threshold,
            "rule": head.decision.method,
            "run": head.run.fingerprint,
        },
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _result(row: ReportRow, head: ReportHead) -> dict[str, Any]:
    rule = BY_SCORE if row.state == "removed" else BY_REVIEWER
    artifact = {"uri": _uri(head), "index": 0} if row.file is None else {"uri": _address(row.file)}
    location: dict[str, Any] = {
        "physicalLocation": {"artifactLocation": artifact},
        "logicalLocations": [{"name": f"row {row.row}", "kind": "element"}],
    }
    if row.line is not None:
        location["physicalLocation"]["region"] = {"startLine": row.line}
    result: dict[str, Any] = {
        "ruleId": rule,
        "ruleIndex": [name for name, _, _ in _RULES].index(rule),
        "level": "warning",
        "message": {"text": _message(row)},
        "locations": [location],
        # -1 is the standard's value for a rank that is not known.
        "rank": -1.0 if row.percentile is None else row.percentile,
        "properties": {"row": row.row, "fihs": row.fihs, "findings": list(row.findings)},
    }
    if row.fingerprint is not None:
        result["partialFingerprints"] = {FINGERPRINT: row.fingerprint}
    if row.override is not None and row.override.action == "keep":
        result["suppressions"] = [_suppression(row)]
    return result


def _message(row: ReportRow) -> str:
    if row.percentile is None:
        return f"Row {row.row} could not be scored and was removed by a reviewer."
    place = f"Row {row.row}: FIHS {number(row.fihs)}, percentile {row.percentile:.1f}"
    if row.state == "removed":
        return f"{place}, {number(row.distance)} from the threshold: removed."
    return f"{place}, below the threshold, removed by a reviewer."


def _suppression(row: ReportRow) -> dict[str, Any]:
    assert row.override is not None
    reason = row.override.reason or "reason withheld"
    return {
        "kind": "external",
        "status": "accepted",
        "justification": f"{row.override.reviewer}, {row.override.time}: {reason}",
    }


def _uri(head: ReportHead) -> str:
    """The data as a relative reference, or as a file address where its path is absolute."""
    return _address(head.run.data)


def _address(path: str) -> str:
    path = path.replace("\\", "/")
    address = quote(path, safe="/:", errors="surrogateescape")
    if path.startswith("/"):
        return f"file://{address}"
    # A first part with a colon would read as a scheme; so would a drive letter.
    return f"./{address}" if ":" in path.split("/", 1)[0] else address
