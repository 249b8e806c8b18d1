"""`report.html`: one file that a reviewer opens without a network, under a strict content policy.

The policy lets the page's own script and style run, by their hashes, and nothing else: text of a
row can never become code. It may ask its own server, if it has one, for rows that did not fit in.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from gradshield.reporting.details import LEVELS, PackedDetails, as_json
from gradshield.reporting.document import ReportHead, ReportRow
from gradshield.reporting.figures import Figures
from gradshield.reporting.wording import file_name, number, percent, sentence, visible

REVIEW_MARKER = "<!-- gradshield:review -->"
"""`gradshield review` puts its own element here; see docs/report.md."""

ROWS_FOLDER = "report_rows"
"""Beside the page: rows that did not fit into it."""

_OUTCOMES = {"kept": "k", "removed": "r", "rejected": "x"}


@dataclass(frozen=True)
class PageTable:
    """The table of a page.

    Attributes:
        rows: Those that it shows, in the order of the data.
        scored: How many rows of all have a score.
        note: What the table leaves out, and where that is; None where it has all rows.
    """

    rows: Sequence[ReportRow]
    scored: int
    note: str | None = None


def render_page(
    head: ReportHead,
    table: PageTable,
    details: PackedDetails,
    figures: Figures,
    *,
    reviewable: bool,
    notes: tuple[str, ...] = (),
) -> str:
    """The page as text.

    Args:
        head: What the report says of the run.
        table: The rows that the page shows.
        details: Texts and tokens of the rows; empty where the page has none.
        figures: Drawn charts.
        reviewable: Whether rows can be marked; not without their texts.
        notes: Sentences on what the page lacks, and why.
    """
    script, style = _asset("report.js"), _asset("report.css")
    template = _environment().get_template("report.html.j2")
    return template.render(
        report=head,
        partial=table.note,
        name=file_name(head),
        title=sentence(head),
        policy=content_policy(script, style),
        marker=REVIEW_MARKER,
        script=script,
        style=style,
        data=embedded_json(_page_data(head, table, details, reviewable)),
        blocks=details.inside,
        figures=figures,
        notes=notes,
        reviewable=reviewable,
        has_texts=bool(details.inside or details.beside_rows),
    )


def content_policy(script: str, style: str) -> str:
    """Content-Security-Policy of the page: nothing but this script and this style."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_source_hash(script)}'",
            f"style-src '{_source_hash(style)}'",
            "img-src data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _source_hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def embedded_json(content: Any) -> str:
    """JSON that no parser takes for anything else inside a script element."""
    text = as_json(content).decode("utf-8")
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("gradshield.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, percent=percent, visible=visible)
    return environment


@cache
def _asset(name: str) -> str:
    text = (files("gradshield.reporting") / "templates" / name).read_text(encoding="utf-8")
    # The hash is taken of what the browser reads, which ends lines by a line feed alone.
    return "\n" + text.replace("\r\n", "\n")


def _page_data(
    head: ReportHead, table: PageTable, details: PackedDetails, reviewable: bool
) -> dict[str, Any]:
    """What the script reads: the table by columns, and where the rows' texts are."""
    rows = table.rows
    sources = list(dict.fromkeys(row.source for row in rows))
    codes = [finding.code for finding in head.findings]
    return {
        "run": head.run.fingerprint,
        "threshold": head.decision.threshold,
        "reviewable": reviewable,
        "total": head.counts.rows,
        "scored": table.scored,
        "levels": LEVELS,
        "scale": details.scale,
        "sources": sources,
        "codes": codes,
        "meanings": {finding.code: finding.meaning for finding in head.findings},
        "columns": {
            # Where the page has all rows, a row's place among them is its number.
            "row": None if table.note is None else [row.row for row in rows],
            "line": [row.line for row in rows],
            "id": [row.id for row in rows],
            "source": [sources.index(row.source) for row in rows],
            "state": "".join(_OUTCOMES[row.state] for row in rows),
            "outcome": "".join(_OUTCOMES[row.outcome] for row in rows),
            "reason": {row.row: row.reason for row in rows if row.reason is not None},
            "fihs": [_rounded(row.fihs, 7) for row in rows],
            "loss": [_rounded(row.loss, 4) for row in rows],
            "tokens": [row.response_tokens for row in rows],
            "rank": [row.rank for row in rows],
            "nearest_kept": [row.nearest_kept for row in rows],
            "nearest_removed": [row.nearest_removed for row in rows],
            "group": [row.duplicate_group for row in rows],
            "findings": [[codes.index(code) for code in row.findings] for row in rows],
            "override": {
                row.row: row.override.model_dump() for row in rows if row.override is not None
            },
        },
        "beside": [
            {"file": f"{ROWS_FOLDER}/{name}", "rows": numbers}
            for name, numbers in zip(beside_names(details), details.beside_rows, strict=True)
        ],
    }


def beside_names(details: PackedDetails) -> list[str]:
    """Names of the files beside the page, in order."""
    return [f"{number:05d}.json" for number in range(len(details.beside_rows))]


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else float(f"{value:.{digits}g}")
