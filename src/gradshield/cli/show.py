"""`gradshield show`: the evidence of the report, in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from gradshield.cli import options as o
from gradshield.cli.closing import blur, row_text
from gradshield.cli.histogram import histogram
from gradshield.cli.show_row import show_row
from gradshield.cli.terminal import SafeConsole
from gradshield.data import SourceRow
from gradshield.errors import UserError
from gradshield.printable import one_line, printable
from gradshield.reporting.build import build_document
from gradshield.reporting.document import ReportDocument, ReportRow
from gradshield.reporting.wording import sentence
from gradshield.run.folder import RunFolder
from gradshield.run.report import run_content, source_rows
from gradshield.run.summary import score_text
from gradshield.run.threshold import read_decision, read_scores


def show_command(
    run: o.RunArgument,
    row: Annotated[
        str | None,
        typer.Option(
            help="Show this row: its position in the data, counted from 0, or its own id.",
            show_default=False,
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=0, help="Rows to list on each side.")] = 8,
    show_text: o.ShowTextOption = False,
) -> None:
    """Show why rows of RUN were removed: the evidence of the report, without a browser.

    Without --row: the decision, the scores with the threshold in them, and the rows on either side
    of it, nearest first. With --row: the row with each response token shaded by what it adds to the
    score, its place among all rows, its neighbours, near-duplicates, and what reviewers said.

    Example: gradshield show runs/train --row 12 --show-text
    """
    folder = RunFolder(run)
    config = folder.read_config()
    rows, notes = source_rows(config, folder)
    lines = read_scores(folder)
    document = build_document(run_content(config, folder, lines, rows))
    console = SafeConsole()
    for note in notes:
        console.print(Text(note), soft_wrap=True)
    if row is None:
        _show_run(console, document, read_decision(folder)["threshold"], rows, top, show_text)
    else:
        position = find_row(lines, row)
        show_row(console, config, folder, document, lines, rows, position, show_text)
    if not show_text:
        console.print(Text("Row texts are blurred; --show-text shows them.", style="dim"))


def find_row(lines: Sequence[Mapping[str, Any]], wanted: str) -> int:
    """The row that a user names: by position, by id, or as `row:12` or `id:12`.

    Raises:
        UserError: There is none, or more than one could be meant.
    """
    kind, _, name = wanted.partition(":")
    if kind not in ("row", "id"):
        kind, name = "", wanted
    position = int(name) if name.isascii() and name.isdigit() and len(name) < 19 else -1
    by_position = {position} if 0 <= position < len(lines) and kind != "id" else set()
    by_id = {line["row"] for line in lines if line["id"] == name} if kind != "row" else set()
    found = sorted(by_position | by_id)
    if not found:
        raise UserError(
            f"There is no row {wanted}: the positions are 0 to {len(lines) - 1}, and no row has "
            "this id."
        )
    if len(found) > 1:
        several = ", ".join(map(str, found[:5])) + (", …" if found[5:] else "")
        raise UserError(f"{wanted} can be one of the rows {several}: write row:{found[0]}, say.")
    return found[0]


def _show_run(
    console: SafeConsole,
    document: ReportDocument,
    threshold: float,
    rows: Sequence[SourceRow],
    top: int,
    show_text: bool,
) -> None:
    console.print(Text(printable(sentence(document)), style="bold"), soft_wrap=True)
    console.print(Text(f"Why: {document.decision.reason}"), soft_wrap=True)
    for warning in document.decision.warnings:
        console.print(Text(f"Warning: {warning}", style="yellow"), soft_wrap=True)
    scores = [row.fihs for row in document.rows if row.fihs is not None]
    if scores:
        console.print("\nScores (FIHS), and how many rows have them:")
        for line in histogram(scores, threshold):
            console.print(line)
    console.print("\nFindings:" if document.findings else "")
    for finding in document.findings:
        meaning = Text(f"{finding.rows:>7}  {finding.code}: {finding.meaning}")
        console.print(meaning, soft_wrap=True)
    texts = {row.position: row_text(row) for row in rows}
    for title, listed in _listed(document, top).items():
        if listed:
            console.print(_table(title, listed, texts, show_text))


def _listed(document: ReportDocument, top: int) -> dict[str, list[ReportRow]]:
    """Rows to list under each title."""
    scored = sorted((row for row in document.rows if row.fihs is not None), key=_score)
    kept = [row for row in reversed(scored) if row.state == "kept"]
    removed = [row for row in scored if row.state == "removed"]
    return {
        "Highest below the threshold": kept[:top],
        "Lowest at or above it": removed[:top],
        "Highest of all": removed[top:][: -top - 1 : -1] if top else [],
        "Decided by reviewers": [row for row in document.rows if row.override is not None][:top],
        "Could not be scored": [row for row in document.rows if row.state == "rejected"][:top],
    }


def _score(row: ReportRow) -> float:
    return row.fihs or 0.0


def _table(
    title: str, listed: Sequence[ReportRow], texts: Mapping[int, str], show_text: bool
) -> Table:
    table = Table(title=title, title_justify="left", expand=True)
    for heading in ("row", "FIHS", "percentile", "distance"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    table.add_column("row text, reason", no_wrap=True, overflow="ellipsis", ratio=1)
    for row in listed:
        text = texts.get(row.row, "")
        shown = Text(text if show_text else blur(text))
        if said := _said(row):
            shown = Text(f"{said}  ", style="italic") + shown
        table.add_row(
            str(row.row),
            score_text(row.fihs),
            "" if row.percentile is None else f"{row.percentile:.1f}",
            "" if row.distance is None else f"{row.distance:+.4f}",
            row.outcome if row.outcome == row.state else f"{row.outcome} (overruled)",
            shown,
        )
    return table


def _said(row: ReportRow) -> str:
    """What a reviewer, or the reason of a rejection, says of a row."""
    if row.override is not None:
        return one_line(f"{row.override.reviewer}: {row.override.reason or ''}", 60)
    return "" if row.reason is None else one_line(row.reason.partition(": ")[0])
