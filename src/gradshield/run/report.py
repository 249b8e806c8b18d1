"""The step `report`: what a run decided and why, as files for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from gradshield.config import RunConfig
from gradshield.data import DataSource, SourceRow
from gradshield.durable import remove
from gradshield.files import write_text, written_whole
from gradshield.progress import Progress, Silent
from gradshield.reporting.build import Report, build_report
from gradshield.reporting.data_card import data_card
from gradshield.reporting.details import (
    DetailStore,
    PackedDetails,
    conversation_of,
    detail_of,
    in_order_of_interest,
    pack,
    shading_scale,
)
from gradshield.reporting.document import ReportRow, report_json
from gradshield.reporting.figures import draw_figures
from gradshield.reporting.page import ROWS_FOLDER, PageTable, beside_names, render_page
from gradshield.reporting.pieces import TokenPieces
from gradshield.reporting.sarif import sarif_log
from gradshield.reporting.selection import selection_note, shown_rows
from gradshield.run.folder import RunFolder
from gradshield.run.report_inputs import report_source, row_reader, run_content, token_pieces
from gradshield.run.threshold import read_reference


def write_report(
    config: RunConfig,
    folder: RunFolder,
    progress: Progress | None = None,
    *,
    out: Path | None = None,
    redact: bool = False,
) -> Path:
    """Write the report of a run: `report.html`, `report.json`, `report.sarif`, `data_card.md`.

    The input and the tokenizer are read again, and neither must have changed; without the one the
    page has no texts, without the other no shades, and says so. No weights are loaded.

    Args:
        config: The configuration of the run.
        folder: The run, scored and decided.
        progress: Told what the report lacks.
        out: Folder to write to; the run folder if None.
        redact: Leave out every text of the data.

    Returns:
        The page.

    Raises:
        UserError: There are no scores or no decision.
    """
    progress, out = progress or Silent(), out or folder.path
    source, notes = report_source(config, folder)
    report = build_report(run_content(config, folder, source), redact=redact)
    shown = shown_rows(report)
    table = PageTable(
        tuple(report.rows(shown)), report.evidence.scores.size, selection_note(report, shown)
    )
    texts = None if redact else source
    pieces = None
    if redact:
        notes = ["This report was made to be shared: it holds no text of the rows."]
    elif texts is not None:
        pieces, missing = token_pieces(config, folder, progress)
        notes += missing
    for note in (*(notes if not redact else ()), *([table.note] if table.note else ())):
        progress.say(note)
    with DetailStore() as store:
        details = PackedDetails()
        if texts is not None:
            details = _details(store, config, report, table.rows, texts, pieces)
        _write_rows(out, store, details)
    _write_files(out, report)
    head, scores = report.head, report.evidence.scores
    figures = draw_figures(head, scores, report.run.decision, read_reference(folder))
    page = render_page(
        head, table, details, figures, reviewable=texts is not None, notes=tuple(notes)
    )
    write_text(out / "report.html", page)
    return out / "report.html"


def _write_files(out: Path, report: Report) -> None:
    """What is beside the page for programs, and for where the data are published."""
    removed = np.flatnonzero(report.evidence.removed | report.outcomes["removed"])
    _write_pieces(out / "report.json", report_json(report.head, report.rows()))
    _write_pieces(out / "report.sarif", sarif_log(report.head, report.rows(removed)))
    write_text(out / "data_card.md", data_card(report.head))


def _write_pieces(target: Path, pieces: Iterable[str]) -> None:
    with written_whole(target) as draft, draft.open("wb") as stream:
        for piece in pieces:
            stream.write(piece.encode("utf-8", "backslashreplace"))


def _details(
    store: DetailStore,
    config: RunConfig,
    report: Report,
    shown: Sequence[ReportRow],
    source: DataSource,
    pieces: TokenPieces | None,
) -> PackedDetails:
    """Put what the page shows of its rows into the store, in one pass over data and scores."""
    read = row_reader(config, source)
    rows = [row.row for row in shown]
    wanted = None if len(rows) == len(report) else np.array(rows, dtype=np.int64)
    lines = (line for batch in report.run.table.batches(None, wanted) for line in batch.to_pylist())
    for row, line, entry in zip(_rows_at(source, rows), lines, shown, strict=True):
        store.put(
            detail_of(
                row,
                line,
                entry.fingerprint or "",
                conversation=conversation_of(row, read),
                response=config.data.response,
                reduction=config.scoring.reduction,
                pieces=pieces,
            )
        )
    return pack(store, in_order_of_interest(shown), scale=shading_scale(report.run.table))


def _rows_at(source: DataSource, positions: Sequence[int]) -> Iterator[SourceRow]:
    """The rows at ascending positions."""
    wanted = set(positions)
    return (row for row in source.rows() if row.position in wanted)


def _write_rows(out: Path, store: DetailStore, details: PackedDetails) -> None:
    """Write the files beside the page; where none are needed, take away those of before."""
    target = out / ROWS_FOLDER
    if not details.beside_rows:
        remove(target)
        return
    with written_whole(target) as draft:
        draft.mkdir()
        for name, rows in zip(beside_names(details), details.beside_rows, strict=True):
            (draft / name).write_bytes(store.block(rows))
