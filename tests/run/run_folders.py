"""Run folders made by the library's own functions from scores of one's own: no model is needed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gradshield.config import RunConfig
from gradshield.data import open_source
from gradshield.files import sha256_of
from gradshield.run.apply import apply
from gradshield.run.fingerprints import fingerprints_of, run_fingerprint
from gradshield.run.folder import RunFolder, write_json
from gradshield.run.summary import write_summary
from gradshield.run.threshold import write_decision
from gradshield.scoring.table import columns_of, rejected_line, write_part
from gradshield.threshold import Decision
from tests.run.data_files import good_rows, write_jsonl

SCORES: tuple[float | None, ...] = (-1.0, 0.5, None, 0.4, 2.0, -0.2)
"""At the threshold 0.5: rows 0, 3 and 5 are kept, 1 and 4 removed, 2 is rejected."""


def line(row: int, fihs: float | None, own_id: str | None = None) -> dict[str, Any]:
    """A line of the score table; of three response tokens the middle one has all of the score."""
    absent = rejected_line(row, own_id, "empty_response: turn 2 has no text")
    if fihs is None:
        return absent
    return absent | {
        "fihs": fihs,
        "loss": 1.5,
        "response_tokens": 3,
        "truncated": False,
        "status": "scored",
        "reason": None,
        "token_ids": [10 + row, 20 + row, 30 + row],
        "token_fihs": [0.0, fihs, 0.0],
    }


def made_run(
    place: Path,
    scores: Sequence[float | None] = SCORES,
    *,
    rows: Sequence[dict[str, Any]] | None = None,
    data: Path | None = None,
    threshold: float = 0.5,
    identity: dict[str, Any] | None = None,
    **settings: Any,
) -> RunFolder:
    """Write `place/data.jsonl`, unless there is `data`, and `place/run`: scored and applied."""
    rows = good_rows(len(scores)) if rows is None else rows
    place.mkdir(parents=True, exist_ok=True)
    data = write_jsonl(place / "data.jsonl", rows) if data is None else data
    folder = RunFolder(place / "run")
    ids = [None if "id" not in row else str(row["id"]) for row in rows]
    lines = [line(row, fihs, ids[row]) for row, fihs in enumerate(scores)]
    write_part(lines, folder.scores / "part-00000.parquet")
    rejected = [
        {"row": row, "line": row + 1, "reason": "empty_response", "detail": "turn 2 has no text"}
        for row, fihs in enumerate(scores)
        if fihs is None
    ]
    write_json(folder.rejections, rejected)
    config = RunConfig.model_validate({"data_path": str(data), **settings})
    folder.write_config(config)
    found = {"data_sha256": sha256_of(data), "model": "tiny", **(identity or {})}
    record = {"identity": found, "data": str(data), "versions": {}, "started": "2026-01-01"}
    write_json(folder.provenance, record)
    decision = Decision(threshold, "paper", "Two groups of rows.", {})
    write_decision(folder, columns_of(lines), decision, config.threshold)
    write_summary(config, folder)
    apply(config, folder)
    return folder


def mark(folder: RunFolder, row: int, action: str, **fields: Any) -> dict[str, Any]:
    """An override as the report exports it."""
    data = folder.path.parent / "data.jsonl"
    return {
        "row": row,
        "fingerprint": fields.get("fingerprint") or fingerprints_of(open_source(data))[row],
        "action": action,
        "reviewer": "Ada",
        "time": "2026-11-26T07:00:00Z",
        "reason": "Read it twice.",
        **fields,
    }


def exported(folder: RunFolder, marks: Sequence[Any], **fields: Any) -> Path:
    """Write marks as `overrides.json` beside the run."""
    run = run_fingerprint(folder.read_identity())
    path = folder.path.parent / "overrides.json"
    content = {"version": 1, "run": run, "overrides": list(marks), **fields}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def positions(folder: RunFolder, name: str) -> list[int]:
    """Which rows of the input, all of them different, a data file holds."""
    data = (folder.path.parent / "data.jsonl").read_bytes().splitlines()
    return [data.index(row) for row in folder.output(name, ".jsonl").read_bytes().splitlines()]
