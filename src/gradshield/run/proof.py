"""What a search proved: the models before finetuning, after everything, and after the kept rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradshield.evaluation.intervals import Interval, wilson
from gradshield.run.folder import RunFolder, read_json
from gradshield.run.threshold import read_decision

METHOD = "search"
"""Name in `decision.json` of a threshold that was searched for."""


@dataclass(frozen=True)
class ProvenModel:
    """A model of the search, with figures on prompts that no choice depended on.

    Attributes:
        name: What it was finetuned on.
        rows: How many rows that are.
        validation_asr: Attack success rate on the prompts that the search looked at.
        test_asr: The same on the test prompts.
        test_interval: Wilson interval of `test_asr`, 95 %.
        over_refusal: Share of ordinary test prompts refused.
        over_refusal_interval: Wilson interval of `over_refusal`, 95 %.
        utility: As the search measured it.
    """

    name: str
    rows: int
    validation_asr: float
    test_asr: float
    test_interval: Interval
    over_refusal: float
    over_refusal_interval: Interval
    utility: float


def read_proof(folder: RunFolder) -> list[ProvenModel]:
    """The aligned model, the one finetuned on everything and the one on the kept rows.

    Empty where the decision is not that of a search; without the last where all rows are kept.
    """
    if read_decision(folder)["method"] != METHOD:
        return []
    trace = read_json(folder.trace)
    everything, *others = trace["points"]
    proven = [
        _proven("nothing", trace["aligned"]),
        _proven("all rows", everything),
    ]
    chosen = [p for p in others if p["safe"] and p["useful"]]
    if chosen and trace.get("status") == "found":
        proven.append(_proven("the kept rows", max(chosen, key=lambda point: point["kept"])))
    return proven


def _proven(name: str, point: dict[str, Any]) -> ProvenModel:
    test = point["details"]["test"]
    harmful, ordinary = test["harmful"], test["ordinary"]
    complied = harmful["prompts"] - harmful["refused"]
    return ProvenModel(
        name=name,
        rows=point.get("kept", 0),
        validation_asr=point["complied"] / point["prompts"],
        test_asr=complied / harmful["prompts"],
        test_interval=wilson(complied, harmful["prompts"]),
        over_refusal=ordinary["refused"] / ordinary["prompts"],
        over_refusal_interval=wilson(ordinary["refused"], ordinary["prompts"]),
        utility=point["utility"],
    )
