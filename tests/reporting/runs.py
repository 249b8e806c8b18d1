"""Run folders for reports, made by the library's own functions from made-up scores: no model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gradshield.config import RunConfig
from gradshield.files import sha256_of
from gradshield.run.folder import RunFolder, write_json
from gradshield.run.provenance import tokenizer_sha256
from gradshield.run.threshold import read_reference, threshold, write_decision
from gradshield.scoring.engines.base import WINDOW
from gradshield.scoring.table import columns_of, rejected_line, write_part
from gradshield.threshold import Decision
from tests.tiny_tokenizers import byte_level_tokenizer

END = "<|end|>"
WORDS = ("river", "Loire", "Hello", "Total: 42 EUR", "name.json", "other.json", "Reply as file")
"""Words that the small tokenizer knows, so that tokens are as long as in real text."""


def chat(question: str, answer: str, **fields: Any) -> dict[str, Any]:
    """A row of one exchange."""
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {**fields, "messages": turns}


def plain_rows(count: int, words: int = 12) -> list[dict[str, Any]]:
    """Harmless rows of two sources; every second one has an id."""
    generator = np.random.default_rng(1)
    found = []
    for number in range(count):
        chosen = " ".join(WORDS[place] for place in generator.integers(0, len(WORDS), words))
        own = {"id": f"own-{number}"} if number % 2 else {}
        source = "alpha" if number % 3 else "beta"
        found.append(chat(f"Name place {number}.", f"The {chosen} {number}.", source=source, **own))
    return found


def synthetic_run(
    place: Path,
    rows: Sequence[Any],
    *,
    high: Sequence[int] = (),
    rejected: Sequence[int] = (),
    at: float | None = None,
    **settings: Any,
) -> RunFolder:
    """A run over `rows` whose tokens have random contributions.

    Args:
        place: Folder for data, model and run.
        rows: Rows of conversations with one answer; a `str` is a line as it is.
        high: Rows whose scores are far above the others.
        rejected: Rows that could not be scored; lines that are no rows are among them anyway.
        at: Threshold; the default rule decides if None.
        settings: More of the configuration.
    """
    place.mkdir(parents=True, exist_ok=True)
    tokenizer = byte_level_tokenizer()
    tokenizer.save_pretrained(place / "model")
    data = place / "train.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    data.write_text("\n".join(lines) + "\n", encoding="utf-8")
    folder = RunFolder(place / "run")
    table = _table(rows, tokenizer, set(high), set(rejected))
    write_part(table, folder.scores / "part-00000.parquet")
    generator = np.random.default_rng(2)
    scores = map(float, generator.normal(size=200))
    reference = [_line(row, [1], [score], None) for row, score in enumerate(scores)]
    write_part(reference, folder.reference)
    write_json(
        folder.rejections,
        [
            {"row": line["row"], "line": line["row"] + 1, "reason": "empty_response", "detail": ""}
            for line in table
            if line["status"] == "rejected"
        ],
    )
    model = {"name": str(place / "model")}
    config = RunConfig.model_validate({"data_path": str(data), "model": model, **settings})
    folder.write_config(config)
    identity = {
        "data_sha256": sha256_of(data),
        "model": model["name"],
        "tokenizer_sha256": tokenizer_sha256(tokenizer),
        "proxy": "contrast",
    }
    record = {
        "identity": identity,
        "data": str(data),
        "command": ["gradshield", "filter", str(data)],
        "started": "2026-11-26T07:00:00+00:00",
        "versions": {"gradshield": "0.1.0", "torch": "2.13.0"},
        "hardware": {"machine": "x86_64", "cores": 2},
    }
    write_json(folder.provenance, record)
    write_json(folder.engine, {"notes": ["jvp: as asked"], "warning": None})
    if at is None:
        assert read_reference(folder) is not None
        threshold(folder, config.threshold)
    else:
        decision = Decision(at, "paper", "Two groups of rows.", {"warnings": []})
        write_decision(folder, columns_of(table), decision, config.threshold)
    return folder


def _table(
    rows: Sequence[Any], tokenizer: Any, high: set[int], rejected: set[int]
) -> list[dict[str, Any]]:
    generator = np.random.default_rng(0)
    rejected = rejected | {n for n, row in enumerate(rows) if isinstance(row, str)}
    answers = ["" if number in rejected else _answer(row) + END for number, row in enumerate(rows)]
    encoded = tokenizer(answers, add_special_tokens=False)["input_ids"]
    found = []
    for number, tokens in enumerate(encoded):
        own = None if isinstance(rows[number], str) else rows[number].get("id")
        if number in rejected:
            found.append(rejected_line(number, own, "empty_response: turn 2 has no text"))
            continue
        tokens = tokens[:2048]
        parts = generator.normal(scale=0.4 / np.sqrt(len(tokens)), size=len(tokens))
        if number in high:
            start = len(tokens) // 3
            length = min(8, len(tokens) - start)
            parts[start : start + length] += 4.0 / length
        found.append(_line(number, tokens, parts.tolist(), own))
    return found


def _answer(row: dict[str, Any]) -> str:
    return str(row["messages"][-1]["content"])


def _line(row: int, tokens: list[int], parts: list[float], own: Any) -> dict[str, Any]:
    sums = np.cumsum([0.0, *parts])
    worst = float(np.max(sums[WINDOW:] - sums[:-WINDOW])) if len(parts) > WINDOW else sums[-1]
    return rejected_line(row, own, "") | {
        "fihs": float(sums[-1] + (worst if len(parts) > 1 else 0.0)),
        "loss": 1.5,
        "response_tokens": len(tokens),
        "truncated": len(tokens) == 2048,
        "status": "scored",
        "reason": None,
        "token_ids": tokens,
        "token_fihs": parts,
    }
