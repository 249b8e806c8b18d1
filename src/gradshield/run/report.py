"""The step `report`: what a run decided and why, as files for people and for programs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from gradshield.config import RunConfig
from gradshield.data import (
    Conversation,
    DataSource,
    SourceRow,
    detect_format,
    format_named,
)
from gradshield.data.formats import joined_detection
from gradshield.data.row_ranges import all_rows, row_ranges
from gradshield.errors import UserError
from gradshield.files import write_text, written_whole
from gradshield.models.load import load_tokenizer
from gradshield.progress import Progress, Silent
from gradshield.reporting.build import Report, build_report
from gradshield.reporting.content import RunContent
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
from gradshield.reporting.document import MeasuredModel, Override, ReportRow, report_json
from gradshield.reporting.figures import draw_figures
from gradshield.reporting.page import ROWS_FOLDER, PageTable, beside_names, render_page
from gradshield.reporting.pieces import TokenPieces
from gradshield.reporting.places import Places, RowPlace
from gradshield.reporting.sarif import sarif_log
from gradshield.reporting.selection import selection_note, shown_rows
from gradshield.run.fingerprints import row_fingerprint, run_fingerprint
from gradshield.run.folder import RunFolder, read_json
from gradshield.run.overrides import in_effect, read_overrides
from gradshield.run.proof import ProvenModel, read_proof
from gradshield.run.provenance import tokenizer_sha256
from gradshield.run.source import check_unchanged, reopen_input
from gradshield.run.threshold import read_decision, read_reference, read_score_table

ROWS_AT_A_TIME = 1024
SOURCE_FIELDS = ("source", "dataset", "subset", "shard", "file")
"""Fields of a row that tell where it came from; the first that is a short text counts."""
LONGEST_SOURCE = 80


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
    pieces = None
    if redact:
        notes = ["This report was made to be shared: it holds no text of the rows."]
    elif source is not None:
        pieces, missing = token_pieces(config, folder, progress)
        notes += missing
    for note in notes if not redact else ():
        progress.say(note)
    if table.note is not None:
        progress.say(table.note)
    has_texts = source is not None and not redact
    with DetailStore() as store:
        details = PackedDetails()
        if source is not None and has_texts:
            _store_details(store, config, report, table.rows, source, pieces)
            order = in_order_of_interest(table.rows)
            details = pack(store, order, scale=shading_scale(report.run.table))
        _write_rows(out, store, details)
    _write_files(out, report)
    figures = draw_figures(
        report.head, report.evidence.scores, report.run.decision, read_reference(folder)
    )
    page = render_page(
        report.head, table, details, figures, reviewable=has_texts, notes=tuple(notes)
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


def report_source(config: RunConfig, folder: RunFolder) -> tuple[DataSource | None, list[str]]:
    """The input as it was scored, or None and why."""
    try:
        source = reopen_input(config, folder)
        check_unchanged(source, folder.read_identity()["data_sha256"])
    except UserError as fault:
        return None, [f"The report has no text of the rows. {fault}"]
    return source, []


def token_pieces(
    config: RunConfig, folder: RunFolder, progress: Progress
) -> tuple[TokenPieces | None, list[str]]:
    """The pieces of the tokenizer that scored, or None and why."""
    settings = config.model
    expected = folder.read_identity().get("tokenizer_sha256")
    try:
        tokenizer = load_tokenizer(
            settings.name,
            revision=settings.revision,
            trust_remote_code=settings.trust_remote_code,
            say=progress.say,
        )
    except UserError as fault:
        return None, [f"The tokenizer cannot be read, so no token is shaded: {fault}"]
    if expected is not None and tokenizer_sha256(tokenizer) != expected:
        return None, [
            f"The tokenizer of {settings.name} is not the one that scored, so no token is shaded."
        ]
    return TokenPieces(tokenizer), []


def run_content(config: RunConfig, folder: RunFolder, source: DataSource | None) -> RunContent:
    """What a run folder holds, for its report; `source` is its input, None where that is gone.

    Raises:
        UserError: There are no scores or no decision.
    """
    table = read_score_table(folder)
    decision = read_decision(folder)
    trace = read_json(folder.trace) if folder.trace.is_file() else None
    identity = folder.read_identity()
    return RunContent(
        config=config,
        table=table,
        decision=decision,
        provenance=read_json(folder.provenance),
        fingerprint=run_fingerprint(identity),
        data_name=Path(config.data_path).name,
        places=None if source is None else _places(source),
        overrides=_overrides(folder),
        engine=read_json(folder.engine) if folder.engine.is_file() else {},
        models=[_measured(model) for model in read_proof(folder)],
        trace=trace,
    )


def _places(source: DataSource) -> Places:
    places = Places()
    for row in source.rows():
        places.append(_place(row))
    return places


def _place(row: SourceRow) -> RowPlace:
    values = [(row.value or {}).get(name) for name in SOURCE_FIELDS]
    texts = (v for v in values if isinstance(v, str) and 0 < len(v) <= LONGEST_SOURCE)
    file = None if row.file is None else _encodable(row.file)
    source = next((_encodable(text) for text in texts), file)
    return RowPlace(row.line, source, row_fingerprint(row), file)


def _encodable(text: str) -> str:
    """Text with half of a surrogate pair, which has no UTF-8 form, as its escape."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _overrides(folder: RunFolder) -> dict[int, Override]:
    found = {}
    for row, recorded in in_effect(read_overrides(folder)).items():
        time = recorded.time.isoformat(timespec="seconds").replace("+00:00", "Z")
        assert recorded.action != "withdraw"  # those are not in effect
        found[row] = Override(
            action=recorded.action, reviewer=recorded.reviewer, time=time, reason=recorded.reason
        )
    return found


def _measured(model: ProvenModel) -> MeasuredModel:
    return MeasuredModel(
        name=model.name,
        rows=model.rows,
        validation_asr=model.validation_asr,
        test_asr=model.test_asr,
        test_asr_low=model.test_interval.low,
        test_asr_high=model.test_interval.high,
        over_refusal=model.over_refusal,
        over_refusal_low=model.over_refusal_interval.low,
        over_refusal_high=model.over_refusal_interval.high,
        utility=model.utility,
    )


def _store_details(
    store: DetailStore,
    config: RunConfig,
    report: Report,
    shown: Sequence[ReportRow],
    source: DataSource,
    pieces: TokenPieces | None,
) -> None:
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


def _rows_at(source: DataSource, positions: Sequence[int]) -> Iterator[SourceRow]:
    """The rows at ascending positions."""
    wanted = set(positions)
    return (row for row in source.rows() if row.position in wanted)


def row_reader(config: RunConfig, source: DataSource) -> Callable[[dict[str, Any]], Conversation]:
    """How the rows of a run are read as conversations."""
    if config.data.format != "auto":
        return format_named(config.data.format).to_conversation
    blocks = all_rows(row_ranges(source), ROWS_AT_A_TIME)
    return reduce(joined_detection, map(detect_format, blocks), detect_format([])).to_conversation


def _write_rows(out: Path, store: DetailStore, details: PackedDetails) -> None:
    """Write the files beside the page; where none are needed, take away those of before."""
    target = out / ROWS_FOLDER
    if not details.beside_rows:
        shutil.rmtree(target, ignore_errors=True)
        return
    with written_whole(target) as draft:
        draft.mkdir()
        for name, rows in zip(beside_names(details), details.beside_rows, strict=True):
            (draft / name).write_bytes(store.block(rows))
