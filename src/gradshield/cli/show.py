"""`gradshield show`: the evidence of the report, in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
import pyarrow.compute as pc
import typer
from rich.table import Table
from rich.text import Text

from gradshield.cli import options as o
from gradshield.cli.closing import blur, texts_of
from gradshield.cli.histogram import histogram
from gradshield.cli.show_row import show_row
from gradshield.cli.terminal import SafeConsole
from gradshield.data.row_ranges import RowRanges, row_ranges
from gradshield.errors import UserError
from gradshield.printable import one_line, printable
from gradshield.reporting.build import Report, build_report
from gradshield.reporting.document import ReportRow
from gradshield.reporting.evidence import Ints
from gradshield.reporting.wording import sentence
from gradshield.run.folder import RunFolder
from gradshield.run.report_inputs import report_source, run_content
from gradshield.run.summary import score_text
from gradshield.scoring.table import ScoreColumns


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
    source, notes = report_source(config, folder)
    report = build_report(run_content(config, folder, source))
    ranges = None if source is None else row_ranges(source)
    console = SafeConsole()
    for note in notes:
        console.print(Text(note), soft_wrap=True)
    if row is None:
        _show_run(console, report, ranges, top, show_text)
    else:
        position = find_row(report.run.table, row)
        show_row(console, config, folder, report, source, position, show_text)
    if not show_text:
        console.print(Text("Row texts are blurred; --show-text shows them.", style="dim"))


def find_row(table: ScoreColumns, wanted: str) -> int:
    """The row that a user names: by position, by id, or as `row:12` or `id:12`.

    Raises:
        UserError: There is none, or more than one could be meant.
    """
    kind, _, name = wanted.partition(":")
    if kind not in ("row", "id"):
        kind, name = "", wanted
    position = int(name) if name.isascii() and name.isdigit() and len(name) < 19 else -1
    by_position = {position} if 0 <= position < len(table) and kind != "id" else set()
    same_id = pc.equal(table.id, name).fill_null(False).to_numpy(zero_copy_only=False)
    by_id = set(np.flatnonzero(same_id).tolist()) if kind != "row" else set()
    found = sorted(by_position | by_id)
    if not found:
        raise UserError(
            f"There is no row {wanted}: the positions are 0 to {len(table) - 1}, and no row has "
            "this id."
        )
    if len(found) > 1:
        several = ", ".join(map(str, found[:5])) + (", …" if found[5:] else "")
        raise UserError(f"{wanted} can be one of the rows {several}: write row:{found[0]}, say.")
    return found[0]


def _show_run(
    console: SafeConsole,
    report: Report,
    ranges: RowRanges | None,
    top: int,
    show_text: bool,
) -> None:
    head, threshold = report.head, report.evidence.threshold
    console.print(Text(printable(sentence(head)), style="bold"), soft_wrap=True)
    console.print(Text(f"Why: {head.decision.reason}"), soft_wrap=True)
    for warning in head.decision.warnings:
        console.print(Text(f"Warning: {warning}", style="yellow"), soft_wrap=True)
    if report.evidence.scores.size:
        console.print("\nScores (FIHS), and how many rows have them:")
        for line in histogram(report.evidence.scores, threshold):
            console.print(line)
    console.print("\nFindings:" if head.findings else "")
    for finding in head.findings:
        meaning = Text(f"{finding.rows:>7}  {finding.code}: {finding.meaning}")
        console.print(meaning, soft_wrap=True)
    for title, rows in _listed(report, top).items():
        if rows.size:
            listed = list(report.rows(rows))
            texts = {} if ranges is None else texts_of(ranges, rows.tolist())
            console.print(_table(title, listed, texts, show_text))


def _listed(report: Report, top: int) -> dict[str, Ints]:
    """Rows to list under each title."""
    evidence, overrides = report.evidence, report.run.overrides
    in_order = evidence.in_order(np.flatnonzero(evidence.table.scored))
    kept, removed = (in_order[rows[in_order]] for rows in (evidence.kept, evidence.removed))
    return {
        "Highest below the threshold": kept[::-1][:top],
        "Lowest at or above it": removed[:top],
        "Highest of all": removed[top:][::-1][:top],
        "Decided by reviewers": np.array(sorted(overrides)[:top], dtype=np.int64),
        "Could not be scored": np.flatnonzero(~evidence.table.scored)[:top],
    }


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
