"""The step `report`: what a run decided and why, as files for people and for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from gradshield.config import RunConfig
from gradshield.data import (
    Conversation,
    SourceRow,
    detect_format,
    format_named,
)
from gradshield.durable import remove
from gradshield.errors import UserError
from gradshield.files import write_text, written_whole
from gradshield.models.load import load_tokenizer
from gradshield.progress import Progress, Silent
from gradshield.reporting.build import RowPlace, RunContent, build_document
from gradshield.reporting.data_card import data_card
from gradshield.reporting.details import (
    Detail,
    PackedDetails,
    conversation_of,
    detail_of,
    in_order_of_interest,
    pack,
    shading_scale,
)
from gradshield.reporting.document import MeasuredModel, Override, ReportDocument, report_json
from gradshield.reporting.figures import draw_figures
from gradshield.reporting.page import ROWS_FOLDER, beside_names, render_page
from gradshield.reporting.pieces import TokenPieces
from gradshield.reporting.sarif import sarif_log
from gradshield.run.fingerprints import row_fingerprint, run_fingerprint
from gradshield.run.folder import RunFolder, read_json
from gradshield.run.overrides import in_effect, read_overrides
from gradshield.run.proof import ProvenModel, read_proof
from gradshield.run.provenance import tokenizer_sha256
from gradshield.run.source import check_unchanged, reopen_input
from gradshield.run.threshold import read_decision, read_reference, read_scores

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
    rows, notes = source_rows(config, folder)
    lines = read_scores(folder)
    run = run_content(config, folder, lines, rows)
    document = build_document(run, redact=redact)
    details = PackedDetails()
    if redact:
        notes = ["This report was made to be shared: it holds no text of the rows."]
    elif rows:
        pieces, missing = token_pieces(config, folder, progress)
        notes += missing
        details = _details(config, document, rows, lines, pieces)
    for note in notes if not redact else ():
        progress.say(note)
    page = render_page(
        document,
        details,
        draw_figures(document, run.decision, read_reference(folder)),
        reviewable=bool(rows) and not redact,
        notes=tuple(notes),
    )
    _write_rows(out, details)
    write_text(out / "report.json", report_json(document))
    write_text(out / "report.sarif", sarif_log(document))
    write_text(out / "data_card.md", data_card(document))
    write_text(out / "report.html", page)
    return out / "report.html"


def source_rows(config: RunConfig, folder: RunFolder) -> tuple[list[SourceRow], list[str]]:
    """The rows of the input, or none and why."""
    try:
        source = reopen_input(config, folder)
        rows = source.read()
        check_unchanged(source, folder.read_identity()["data_sha256"])
    except UserError as fault:
        return [], [f"The report has no text of the rows. {fault}"]
    return rows, []


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


def run_content(
    config: RunConfig,
    folder: RunFolder,
    lines: Sequence[dict[str, Any]],
    rows: Sequence[SourceRow],
) -> RunContent:
    """What a run folder holds, for its report; `rows` are those of the input, or none."""
    decision = read_decision(folder)
    trace = read_json(folder.trace) if folder.trace.is_file() else None
    identity = folder.read_identity()
    return RunContent(
        config=config,
        lines=lines,
        decision=decision,
        provenance=read_json(folder.provenance),
        fingerprint=run_fingerprint(identity),
        data_name=Path(config.data_path).name,
        places={row.position: _place(row) for row in rows},
        overrides=_overrides(folder),
        engine=read_json(folder.engine) if folder.engine.is_file() else {},
        models=[_measured(model) for model in read_proof(folder)],
        trace=trace,
    )


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


def _details(
    config: RunConfig,
    document: ReportDocument,
    rows: Sequence[SourceRow],
    lines: Sequence[dict[str, Any]],
    pieces: TokenPieces | None,
) -> PackedDetails:
    read = row_reader(config, rows)
    by_row = {line["row"]: line for line in lines}
    fingerprints = {row.row: row.fingerprint or "" for row in document.rows}

    def made() -> Iterator[Detail]:
        for row in in_order_of_interest(document.rows):
            yield detail_of(
                rows[row],
                by_row[row],
                fingerprints[row],
                conversation=conversation_of(rows[row], read),
                response=config.data.response,
                reduction=config.scoring.reduction,
                pieces=pieces,
            )

    return pack(made(), scale=shading_scale(lines))


def row_reader(
    config: RunConfig, rows: Sequence[SourceRow]
) -> Callable[[dict[str, Any]], Conversation]:
    """How the rows of a run are read as conversations."""
    if config.data.format == "auto":
        return detect_format(rows).to_conversation
    return format_named(config.data.format).to_conversation


def _write_rows(out: Path, details: PackedDetails) -> None:
    """Write the files beside the page; where none are needed, take away those of before."""
    target = out / ROWS_FOLDER
    if not details.beside:
        remove(target)
        return
    with written_whole(target) as draft:
        draft.mkdir()
        for name, text in zip(beside_names(details), details.beside, strict=True):
            (draft / name).write_text(text, encoding="utf-8")
