"""What a report is made of: the input, the tokenizer and the run folder, read once more."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

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
from gradshield.models.load import load_tokenizer
from gradshield.progress import Progress
from gradshield.reporting.content import RunContent
from gradshield.reporting.document import MeasuredModel, Override
from gradshield.reporting.pieces import TokenPieces
from gradshield.reporting.places import Places, RowPlace
from gradshield.run.fingerprints import row_fingerprint, run_fingerprint
from gradshield.run.folder import RunFolder, read_json
from gradshield.run.overrides import in_effect, read_overrides
from gradshield.run.proof import ProvenModel, read_proof
from gradshield.run.provenance import tokenizer_sha256
from gradshield.run.source import check_unchanged, reopen_input
from gradshield.run.threshold import read_decision, read_scores

ROWS_AT_A_TIME = 1024
SOURCE_FIELDS = ("source", "dataset", "subset", "shard", "file")
"""Fields of a row that tell where it came from; the first that is a short text counts."""
LONGEST_SOURCE = 80


def report_source(config: RunConfig, folder: RunFolder) -> tuple[DataSource | None, list[str]]:
    """The input as it was scored, or None and why."""
    try:
        source = reopen_input(config, folder)
        check_unchanged(source, folder.read_identity()["data_sha256"])
    except UserError as fault:
        return None, [f"The report has no text of the rows. {fault}"]
    return source, []


def run_content(config: RunConfig, folder: RunFolder, source: DataSource | None) -> RunContent:
    """What a run folder holds, for its report; `source` is its input, None where that is gone.

    Raises:
        UserError: There are no scores or no decision.
    """
    table = read_scores(folder)
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


def row_reader(config: RunConfig, source: DataSource) -> Callable[[dict[str, Any]], Conversation]:
    """How the rows of a run are read as conversations."""
    if config.data.format != "auto":
        return format_named(config.data.format).to_conversation
    blocks = all_rows(row_ranges(source), ROWS_AT_A_TIME)
    return reduce(joined_detection, map(detect_format, blocks), detect_format([])).to_conversation
