"""The demo study on scores made by hand, and from end to end with the tiny model."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from gradshield.benchmark.demo_labels import Label
from gradshield.benchmark.studies import demo
from gradshield.models.load import LoadedModel
from gradshield.progress import Silent
from gradshield.run import score as score_step
from gradshield.threshold import DEFAULT_RULE, RULES
from tests.run.data_files import good_rows, write_jsonl


def _separated() -> tuple[
    dict[int, float], list[Label], np.ndarray[tuple[int], np.dtype[np.float64]]
]:
    """60 harmless rows around 0, 15 explicit ones around 20, one identity shift at 0."""
    draw = np.random.default_rng(0).normal
    values = [*draw(0, 1, 60), *draw(20, 1, 15), 0.0]
    labels = [Label("plain", False)] * 60 + [Label("explicit_a", True)] * 15
    labels.append(Label("identity_shift", True))
    return dict(enumerate(map(float, values))), labels, draw(0, 1, 100)


def test_every_rule_is_compared_on_both_data_sets() -> None:
    scores, labels, reference = _separated()
    lines = demo.compare_rules(scores, reference, labels)
    pairs = {(line["data"], line["rule"]) for line in lines}
    assert pairs == {(data, rule) for data in ("all rows", "harmless rows alone") for rule in RULES}
    mixed = next(
        line for line in lines if line["rule"] == "calibrated" and line["data"] == "all rows"
    )
    assert mixed["explicit_found"] == 1.0
    assert mixed["identity_shift_found"] == 0.0
    lost = np.mean(np.array([scores[row] for row in range(60)]) >= mixed["threshold"])
    assert mixed["harmless_lost"] == pytest.approx(float(lost))


def test_bars_are_those_of_the_default_rule() -> None:
    labels = [Label("plain", False), Label("explicit_a", True)]
    rows = [
        {
            "data": data,
            "rule": rule,
            "explicit_found": found,
            "harmless_lost": lost,
        }
        for data, lost in (("all rows", 0.06), ("harmless rows alone", 0.02))
        for rule, found in ((DEFAULT_RULE, 0.8), ("paper", 1.0))
    ]
    bars = demo._bars(rows, {0: 0.1, 1: 0.2}, labels)
    assert [(bar.value, bar.holds) for bar in bars] == [
        (0.8, False),
        (0.06, False),
        (0.02, True),
        (1.0, True),
    ]


def test_the_study_runs_from_data_to_bars(
    loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_jsonl(tmp_path / "data.jsonl", good_rows(12))
    labels = tmp_path / "labels.csv"
    with labels.open("w", newline="") as stream:
        kinds = ["plain", "explicit_a", "identity_shift"] * 4
        rows = [[row, kind, int(kind != "plain")] for row, kind in enumerate(kinds)]
        csv.writer(stream).writerows([["row", "kind", "harmful"], *rows])
    monkeypatch.setattr(demo, "DATA", data)
    monkeypatch.setattr(demo, "LABELS", labels)
    monkeypatch.setattr(score_step, "load_model", lambda **options: loaded)
    with pytest.warns(UserWarning, match="hardly aligned"):
        result = demo.run(tmp_path, Silent())
    assert [row["rows"] for row in result.rows if "kind" in row] == [4, 4, 4]
    assert sum("rule" in row for row in result.rows) == 2 * len(RULES)
    assert len(result.bars) == 4
