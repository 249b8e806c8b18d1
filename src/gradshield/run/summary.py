"""The summary of a run, in words and figures, without row texts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from gradshield.config import RunConfig
from gradshield.files import write_text
from gradshield.markdown import code, plain
from gradshield.printable import one_line
from gradshield.run.folder import RunFolder, read_json
from gradshield.run.overrides import in_effect, read_overrides
from gradshield.run.proof import read_proof
from gradshield.run.threshold import divide, read_decision, read_scores
from gradshield.scoring.table import FIHS_MEANING, ScoreColumns

HIGHEST_ROWS = 10
SHOWN_OVERRULED = 20

NOTHING_KEPT = (
    "No row is kept: there is nothing to train on. The reasons are in `decision.json` and "
    "`rejections.json`."
)


def highest_rows(table: ScoreColumns, count: int = HIGHEST_ROWS) -> list[dict[str, Any]]:
    """What is short of the scored rows with the highest FIHS, highest first."""
    scored = np.flatnonzero(table.scored)
    highest = scored[np.argsort(-table.fihs[scored], kind="stable")[:count]]
    return [
        {
            "row": int(table.row[place]),
            "id": table.id[int(place)].as_py(),
            "fihs": float(table.fihs[place]),
            "loss": float(table.loss[place]),
            "response_tokens": int(table.response_tokens[place]),
        }
        for place in highest
    ]


def write_summary(config: RunConfig, folder: RunFolder) -> None:
    """Write `report.md`: what was decided and why, the highest rows, what made the run."""
    decision = read_decision(folder)
    table = read_scores(folder)
    provenance = read_json(folder.provenance, "identity", "versions")
    parts = [
        "# GradShield run",
        _verdict(config, decision, len(table)),
        _training_file(config, decision, _output_form(config, provenance)),
        _preference(folder),
        f"## Why this threshold\n\n{decision['reason']}",
        _proof(folder),
        _overruled(folder, decision, table),
        "## Highest rows\n\n" + _table(table, outcome_texts(table, decision)),
        _rejected(folder),
        _loss(provenance),
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


def review_text(decision: dict[str, Any], shown: Callable[[str], str] = one_line) -> str:
    """One sentence on what reviewers changed; empty where none has said anything.

    `shown` makes a reviewer's name fit for where it is shown.
    """
    review = decision.get("overrides")
    if not (review and review["reviewers"]):
        return ""
    changes = Counter((entry["from"], entry["to"]) for entry in review["overruled"])
    what = ", ".join(f"{count} {a} → {b}" for (a, b), count in sorted(changes.items()))
    who = ", ".join(f"{shown(name)} ({n})" for name, n in review["reviewers"].items())
    count = len(review["overruled"])
    return (
        f"Reviewers overruled the score for {count} {'row' if count == 1 else 'rows'}"
        f"{f' ({what})' if what else ''} and agreed with it for {review['agreeing']}: {who}."
    )


def outcome_texts(table: ScoreColumns, decision: dict[str, Any]) -> npt.NDArray[np.object_]:
    """What became of each row, in a word, and whether a reviewer said so against the score."""
    review = decision.get("overrides") or {"overruled": []}
    texts = divide(table, decision["threshold"]).outcomes
    for entry in review["overruled"]:
        texts[entry["row"]] = f"{entry['to']} (overruled)"
    return texts


def keeps_nothing(config: RunConfig, decision: dict[str, Any]) -> bool:
    """Whether the kept file is without rows, so that there is nothing to train on."""
    kept = int(decision["kept"])
    return kept + (int(decision["rejected"]) if config.on_reject == "keep" else 0) == 0


def _output_form(config: RunConfig, provenance: dict[str, Any]) -> str:
    """How data files are called after their first word: folders, or files of any ending."""
    in_folders = config.shards is not None or provenance.get("files", 1) > 1
    return "/" if in_folders else ".*"


def _training_file(config: RunConfig, decision: dict[str, Any], form: str) -> str:
    """Which of the data files to train on."""
    kept = f"kept{form}"
    if config.on_reject == "fail" and decision["rejected"]:
        return (
            "There is no file to train on: rows were rejected, and `--on-reject fail` writes none."
        )
    if config.action == "drop" and keeps_nothing(config, decision):
        return NOTHING_KEPT
    if config.action == "drop":
        return f"Train on `{kept}`."
    if config.action == "mask":
        return (
            "Train on `masked.parquet`: `input_ids`, `attention_mask` and `labels` for this "
            "model's tokenizer, which trainers take as they are. Where a row harms, its labels "
            f"are -100; rows of which nothing is left are not in it. `{kept}` is the choice for "
            "trainers that read text."
        )
    all_rows = (
        f"`annotated{form}`, which holds every row of the input (but for those that are no JSON "
        f"object, see `rejected{form}`)"
    )
    if config.action == "annotate":
        return (
            f"Train on `{kept}`, or choose rows yourself in {all_rows} with its score in "
            "`gradshield_fihs` and what became of it in `gradshield_decision`: trained on as it "
            "is, it protects from nothing."
        )
    return (
        f"Train on {all_rows}, and multiply the loss of each row by its `gradshield_weight`: a "
        "trainer that does not know this column trains on all rows alike, so with such a one "
        f"train on `{kept}`."
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


def _overruled(folder: RunFolder, decision: dict[str, Any], scored: ScoreColumns) -> str:
    text = review_text(decision, plain)
    if not text:
        return ""
    overruled = decision["overrides"]["overruled"][:SHOWN_OVERRULED]
    recorded = in_effect(read_overrides(folder))
    scores = scored.scores()
    head = "| row | FIHS | by the score | now | reviewer | reason |\n|---:|---:|---|---|---|---|"
    body = [
        f"| {entry['row']} | {score_text(scores[entry['row']])} | {entry['from']} | {entry['to']} "
        f"| {plain(entry['reviewer'])} | {plain(recorded[entry['row']].reason)} |"
        for entry in overruled
        if entry["row"] in recorded
    ]
    table = "\n\n" + "\n".join([head, *body]) if body else ""
    return f"## Overruled\n\n{text} The whole trail is in `overrides.jsonl`.{table}"


def score_text(fihs: float | None) -> str:
    """A score as shown to people."""
    return "none" if fihs is None else f"{fihs:+.4f}"


def _table(table: ScoreColumns, outcomes: npt.NDArray[np.object_]) -> str:
    head = "| row | id | FIHS | loss | response tokens | outcome |\n|---:|---|---:|---:|---:|---|"
    body = [
        f"| {line['row']} | {plain(line['id'] or '')} | {line['fihs']:+.4f} | {line['loss']:.2f} "
        f"| {line['response_tokens']} "
        f"| {outcomes[line['row']]} |"
        for line in highest_rows(table)
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
    line = "" if entry["line"] is None else f"line {entry['line']}"
    where = " of ".join(filter(None, [line, plain(entry.get("file", ""))]))
    return f"row {entry['row']}" + (f" ({where})" if where else "")


def _loss(provenance: dict[str, Any]) -> str:
    """Whose loss the scores are of, and how it is averaged."""
    loss = provenance.get("loss")
    if loss is None:  # a run of an earlier version
        return ""
    return (
        f"## Which loss\n\nScored under the trainer profile `{loss['profile']}` (checked with "
        f"{loss['checked_with']}).\n\n"
        f"- Carries loss: {loss['carries_loss']}.\n"
        f"- A row longer than the limit: {loss['cuts']}.\n"
        f"- The trainer averages: {loss['averaging']}.\n"
        f"- FIHS counts the tokens of a row by the reduction `{loss['reduction']}`; "
        "docs/profiles.md says what follows."
    )


def _engine(folder: RunFolder) -> str:
    if not folder.engine.is_file():  # a run of an earlier version
        return ""
    chosen = read_json(folder.engine, "notes", "warning")
    warning = "" if chosen["warning"] is None else f"\n- **{chosen['warning']}**"
    return f"\n- engine: {'; '.join(chosen['notes'])}" + warning


def _preference(folder: RunFolder) -> str:
    """What the scores of preference rows are; nothing where rows are plain."""
    if not folder.engine.is_file():  # a run of an earlier version
        return ""
    statement = read_json(folder.engine).get("preference")
    if statement is None:
        return ""
    return f"{statement} In the table, loss is the chosen answer's, tokens are those of both."


def _made_by(provenance: dict[str, Any]) -> str:
    entries = {**provenance["identity"], **provenance["versions"]}
    return "\n".join(f"- {name}: {code(str(value))}" for name, value in entries.items())
