"""Bars that are computed, and the result file of a study."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path

import pytest

from gradshield.benchmark.result import Bar, StudyResult, write_result


@pytest.mark.parametrize(
    ("value", "comparison", "holds"),
    [
        (0.5, "<=", True),
        (0.49, "<=", True),
        (0.51, "<=", False),
        (0.5, ">=", True),
        (0.51, ">=", True),
        (0.49, ">=", False),
        (float("nan"), "<=", False),
        (float("nan"), ">=", False),
    ],
)
def test_a_bar_holds_by_its_value(value: float, comparison: str, holds: bool) -> None:
    bar = Bar("share", value, comparison, 0.5)
    assert bar.holds is holds
    assert bar.as_json()["holds"] is holds
    assert bar.as_json()["target"] == f"{comparison} 0.5"


def test_holds_cannot_be_typed() -> None:
    with pytest.raises(TypeError):
        Bar("share", 0.9, "<=", 0.5, holds=True)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        Bar("share", 0.9, "<=", 0.5).holds = True  # type: ignore[misc]


def test_result_file_has_the_fixed_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/gradshield", "benchmark", "mine"])
    study = StudyResult([{"a": 1}], [Bar("share", 0.25, "<=", 0.5)], seeds=range(3))
    path = tmp_path / "deep" / "mine.json"
    assert write_result(path, lambda: study) is study
    written = json.loads(path.read_text(encoding="utf-8"))
    assert list(written) == [
        "command",
        "commit",
        "versions",
        "hardware",
        "started",
        "seeds",
        "seconds",
        "rows",
        "bars",
    ]
    assert written["command"] == "gradshield benchmark mine"
    assert written["seeds"] == [0, 1, 2]
    assert written["rows"] == [{"a": 1}]
    assert written["bars"] == [{"name": "share", "value": 0.25, "target": "<= 0.5", "holds": True}]
    assert datetime.fromisoformat(written["started"]).utcoffset() is not None
    assert 0 <= written["seconds"] < 5
    assert {"python", "torch"} <= set(written["versions"])
    assert written["commit"] is None or written["commit"].removesuffix("-dirty")


def test_a_study_that_fails_writes_nothing(tmp_path: Path) -> None:
    def fail() -> StudyResult:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_result(tmp_path / "mine.json", fail)
    assert list(tmp_path.iterdir()) == []
