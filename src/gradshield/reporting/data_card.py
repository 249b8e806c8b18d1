"""`data_card.md`: what a filtered data set is, for the place where it is published."""

from __future__ import annotations

from typing import Any

import yaml

from gradshield.reporting.document import ReportHead
from gradshield.reporting.wording import file_name, percent, sentence

_FROM_IDENTITY = (
    "model",
    "adapter",
    "weights_sha256",
    "tokenizer_sha256",
    "dtype",
    "format",
    "response",
    "max_length",
    "proxy",
    "modules",
    "take_out",
    "normalise",
    "reduction",
    "engine",
)

_HOW = (
    "Each row has a score, FIHS: to first order, how much one training step on it alone would "
    "raise the unsafety of the model named above on held-out harmful prompts, the probes. Rows at "
    "or above the threshold were removed, and so were rows that a reviewer removed; rows that a "
    "reviewer kept are in it whatever they score."
)
_CHECK = (
    "`report.json` has every row with its score and outcome, `report.html` shows them. "
    "`gradshield verify RUN` computes the fingerprints again and scores a sample again."
)


def data_card(document: ReportHead) -> str:
    """YAML front matter for programs, and the same in words."""
    head = yaml.safe_dump(_front_matter(document), sort_keys=False, allow_unicode=True)
    parts = (
        f"---\n{head}---",
        "# Data filtered by GradShield",
        sentence(document),
        f"**Why this threshold.** {document.decision.reason}",
        _measured(document),
        f"## How the rows were chosen\n\n{_HOW}",
        "## What this cannot see\n\n" + "\n".join(f"- {limit}" for limit in document.limits),
        f"## Check it\n\n{_CHECK}",
    )
    return "\n\n".join(parts) + "\n"


def _front_matter(document: ReportHead) -> dict[str, Any]:
    run, counts, decision = document.run, document.counts, document.decision
    identity = {name: run.identity[name] for name in _FROM_IDENTITY if name in run.identity}
    return {
        "filter": "GradShield",
        "gradshield_version": run.versions.get("gradshield"),
        "data": {"name": file_name(document), "sha256": run.data_sha256, "rows": counts.rows},
        "outcome": counts.model_dump(exclude={"rows"}),
        "removed_share": round(counts.removed / counts.rows, 6) if counts.rows else 0.0,
        "decision": decision.model_dump(mode="json", exclude={"reason"}),
        "scored_with": identity,
        "run_fingerprint": run.fingerprint,
        "versions": run.versions,
    }


def _measured(document: ReportHead) -> str:
    if not document.models:
        return (
            "**Not measured.** No model was finetuned on the kept rows; whether they are safe to "
            "train on is inferred from their scores."
        )
    lines = [
        f"- finetuned on {model.name}: complied with {percent(model.test_asr)} of harmful test "
        f"prompts (95 % interval {percent(model.test_asr_low)} to {percent(model.test_asr_high)}), "
        f"refused {percent(model.over_refusal)} of ordinary ones, utility {model.utility:.3f}"
        for model in document.models
    ]
    return "**Measured after finetuning.**\n\n" + "\n".join(lines)
