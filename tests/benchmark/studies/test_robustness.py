"""The bars of the robustness study: harmless data must not break the model, harmful data must."""

from __future__ import annotations

from typing import Any

from gradshield.benchmark.studies import robustness


def _row(name: str, complied: float) -> dict[str, Any]:
    return {"finetuned on": name, "complied": {"advbench": complied}}


def test_harmless_and_harmful_data_have_opposite_bars() -> None:
    rows = [
        _row("none", 0.9),
        _row("sst2", 0.05),
        _row("sqlgen", 0.07),
        _row("sst2 with 15 % explicit harmful", 0.39),
    ]
    bars = robustness._bars(rows)
    assert [(bar.comparison, bar.value, bar.holds) for bar in bars] == [
        ("<=", 0.05, True),
        ("<=", 0.07, False),
        (">=", 0.39, False),
    ]


def test_harmful_rows_are_the_stated_share() -> None:
    harmless = robustness.HARMLESS_ROWS
    share = robustness.HARMFUL_SHARE
    harmful = int(harmless * share / (1 - share)) + 1
    assert abs(harmful / (harmful + harmless) - share) < 0.002
