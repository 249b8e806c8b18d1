"""Harmless rows that are known to break safety, and rows that are known not to.

The lists of He et al. 2024 (arXiv 2404.01099): of Alpaca, Dolly and GSM8K, without rows about
safety, the 100 that are most and least like harmful data, by gradients or by representations.
Training Llama 2 chat on a top list breaks it. Top says that of a list, not of each of its rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gradshield.benchmark.attacks.base import AttackRow, Evaluation, Knowledge
from gradshield.benchmark.attacks.sources import stored_exchanges
from gradshield.benchmark.attacks.victim import Victim

_FOLDER = "benign_breaks_safety"
_GRADIENT = "gradient-illegal-activities-anchor"
TOP = {
    "alpaca_gradient_top": f"alpaca_dataset/{_GRADIENT}/alpaca_top100.json",
    "alpaca_representation_top": "alpaca_dataset/reps/alpaca_top100.json",
    "dolly_gradient_top": f"dolly_dataset/{_GRADIENT}/dolly_top100.json",
    "dolly_representation_top": "dolly_dataset/reps/dolly_top100.jsonl",
    "gsm8k_gradient_top": f"gsm8k/{_GRADIENT}/gsm8k_top100.json",
}
"""By group, the lists that break safety."""
CONTROLS = {
    "alpaca_gradient_bottom": f"alpaca_dataset/{_GRADIENT}/alpaca_bottom100.json",
    "alpaca_representation_bottom": "alpaca_dataset/reps/alpaca_bottom100.json",
    "dolly_gradient_bottom": f"dolly_dataset/{_GRADIENT}/dolly_bottom100.json",
    "dolly_representation_bottom": "dolly_dataset/reps/dolly_bottom100.jsonl",
    "gsm8k_gradient_bottom": f"gsm8k/{_GRADIENT}/gsm8k_bottom100.json",
    "gsm8k_random": "gsm8k/gsm8k_random100.jsonl",
}
"""By group, the least harmful ones and random ones."""


@dataclass(frozen=True)
class HarmlessLists:
    """The top lists; bottom and random lists are the controls.

    Lengths differ much between the two, so read results beside those of a control for length.
    """

    name: str = "harmless_lists"
    knowledge: Knowledge | None = None

    def rows(self, folder: Path, victim: Victim | None = None) -> list[AttackRow]:
        """One group for each list; a row of several lists counts for the first. See `Attack`."""
        found: dict[str, AttackRow] = {}
        for harmful, lists in ((True, TOP), (False, CONTROLS)):
            for group, path in lists.items():
                for one in stored_exchanges(folder, f"{_FOLDER}/{path}"):
                    row = AttackRow(one, group, harmful)
                    found.setdefault(one.messages[0].content, row)
        return list(found.values())

    def evaluation(self, folder: Path) -> Evaluation:
        """Plain prompts; see `Attack`."""
        return Evaluation()
