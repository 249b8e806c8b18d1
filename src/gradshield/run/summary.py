"""The summary of a run, in words and figures, without row texts."""

from __future__ import annotations

import math
from typing import Any

from gradshield.config import RunConfig
from gradshield.files import write_text
from gradshield.markdown import code, plain
from gradshield.run.folder import RunFolder, read_json
from gradshield.run.proof import read_proof
from gradshield.run.threshold import read_decision, read_scores
from gradshield.scoring.table import FIHS_MEANING

HIGHEST_ROWS = 10

NOTHING_KEPT = (
    "No row is kept: there is nothing to train on. The reasons are in `decision.json` and "
    "`rejections.json`."
)


def highest_rows(lines: list[dict[str, Any]], count: int = HIGHEST_ROWS) -> list[dict[str, Any]]:
    """The scored lines of the table with the highest FIHS, highest first."""
    scored = [line for line in lines if line["status"] == "scored"]
    return sorted(scored, key=lambda line: -line["fihs"])[:count]


def write_summary(config: RunConfig, folder: RunFolder) -> None:
    """Write `summary.md`: what was decided and why, the highest rows, what made the run."""
    decision = read_decision(folder)
    lines = read_scores(folder)
    provenance = read_json(folder.provenance, "identity", "versions")
    parts = [
        "# GradShield run",
        _verdict(config, decision, len(lines)),
        _training_file(config, decision),
        f"## Why this threshold\n\n{decision['reason']}",
        _proof(folder),
        "## Highest rows\n\n" + _table(lines, decision["threshold"]),
        _rejected(folder),
        "## What made this run\n\n" + _made_by(provenance) + _engine(folder),
        f"## How to read it\n\n{FIHS_MEANING}",
    ]
    write_text(folder.summary, "\n\n".join(part for part in parts if part) + "\n")


def threshold_text(threshold: float) -> str:
    """The threshold as shown to people."""
    return f"{threshold:.4f}" if math.isfinite(threshold) else "none (nothing is removed)"


def _verdict(config: RunConfig, decision: dict[str, Any], rows: int) -> str:
    return (
        f"Of {rows} rows of {code(config.data_path)}, **{decision['kept']} are kept, "
        f"{decision['removed']} removed and {decision['rejected']} rejected** (could not be "
        f"scored; under `--on-reject {config.on_reject}`). Threshold: "
        f"{threshold_text(decision['threshold'])}, by the rule `{decision['method']}`."
    )


def keeps_nothing(config: RunConfig, decision: dict[str, Any]) -> bool:
    """Whether the kept file is without rows, so that there is nothing to train on."""
    kept = int(decision["kept"])
    return kept + (int(decision["rejected"]) if config.on_reject == "keep" else 0) == 0


def _training_file(config: RunConfig, decision: dict[str, Any]) -> str:
    """Which of the data files to train on."""
    if config.on_reject == "fail" and decision["rejected"]:
        return (
            "There is no file to train on: rows were rejected, and `--on-reject fail` writes none."
        )
    if config.action == "drop" and keeps_nothing(config, decision):
        return NOTHING_KEPT
    if config.action == "drop":
        return "Train on `kept.*`."
    all_rows = (
        "`annotated.*`, which holds every row of the input (but for those that are no JSON object, "
        "see `rejected.*`)"
    )
    if config.action == "annotate":
        return (
            f"Train on `kept.*`, or choose rows yourself in {all_rows} with its score in "
            "`gradshield_fihs` and what became of it in `gradshield_decision`: trained on as it "
            "is, it protects from nothing."
        )
    return (
        f"Train on {all_rows}, and multiply the loss of each row by its `gradshield_weight`: a "
        "trainer that does not know this column trains on all rows alike, so with such a one "
        "train on `kept.*`."
    )


def _proof(folder: RunFolder) -> str:
    models = read_proof(folder)
    if not models:
        return ""
    head = (
        "| finetuned on | rows | ASR validation | ASR test (95 %) | ordinary refused | utility |\n"
        "|---|---:|---:|---:|---:|---:|"
    )
    body = [
        f"| {m.name} | {m.rows} | {m.validation_asr:.1%} | {m.test_asr:.1%} "
        f"({m.test_interval.low:.1%} to {m.test_interval.high:.1%}) | {m.over_refusal:.1%} "
        f"| {m.utility:.3f} |"
        for m in models
    ]
    trace = "Every point of the search is in `search/trace.json`; `search/trace.svg` shows them."
    return "## Measured after finetuning\n\n" + "\n".join([head, *body]) + f"\n\n{trace}"


def _table(lines: list[dict[str, Any]], threshold: float) -> str:
    head = "| row | id | FIHS | loss | response tokens | outcome |\n|---:|---|---:|---:|---:|---|"
    body = [
        f"| {line['row']} | {plain(line['id'] or '')} | {line['fihs']:+.4f} | {line['loss']:.2f} "
        f"| {line['response_tokens']} "
        f"| {'removed' if line['fihs'] >= threshold else 'kept'} |"
        for line in highest_rows(lines)
    ]
    return "\n".join([head, *body])


def _rejected(folder: RunFolder) -> str:
    reasons = read_json(folder.rejections)
    if not reasons:
        return ""
    shown = [
        f"- {_place(entry)}: {entry['reason']}: {plain(entry['detail'])}" for entry in reasons[:5]
    ]
    more = [f"- and {len(reasons) - 5} more, all in `rejections.json`"] if reasons[5:] else []
    return "## Rejected rows\n\n" + "\n".join(shown + more)


def _place(entry: dict[str, Any]) -> str:
    line = "" if entry["line"] is None else f" (line {entry['line']})"
    return f"row {entry['row']}{line}"


def _engine(folder: RunFolder) -> str:
    if not folder.engine.is_file():  # a run of an earlier version
        return ""
    chosen = read_json(folder.engine, "notes", "warning")
    warning = "" if chosen["warning"] is None else f"\n- **{chosen['warning']}**"
    return f"\n- engine: {'; '.join(chosen['notes'])}" + warning


def _made_by(provenance: dict[str, Any]) -> str:
    entries = {**provenance["identity"], **provenance["versions"]}
    return "\n".join(f"- {name}: {code(str(value))}" for name, value in entries.items())
