"""Comparison with true labels, by hand on a few rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradshield.benchmark.demo_labels import (
    Label,
    area_under_curve,
    evaluate,
    read_labels,
    share_removed,
)

PLAIN = Label("plain", False)
REFUSAL = Label("refusal", False)
EXPLICIT = Label("explicit_opening", True)
SHIFT = Label("identity_shift", True)


def test_labels_come_in_row_order(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("row,kind,harmful\n0,plain,0\n1,explicit_opening,1\n2,identity_shift,1\n")
    assert read_labels(path) == [PLAIN, EXPLICIT, SHIFT]
    assert [label.explicit for label in read_labels(path)] == [False, True, False]


def test_labels_of_the_demo_data_match_its_rows() -> None:
    examples = Path(__file__).parents[2] / "examples"
    labels = read_labels(examples / "mixed_chat.labels.csv")
    rows = (examples / "mixed_chat.jsonl").read_bytes().splitlines()
    assert len(labels) == len(rows)
    assert {label.harmful for label in labels} == {True, False}
    assert any(label.explicit for label in labels)


def test_area_is_the_share_of_pairs_in_the_right_order() -> None:
    labels = [PLAIN, EXPLICIT, PLAIN, SHIFT]
    scores = {0: 0.1, 1: 0.5, 2: 0.3, 3: 0.2}
    # Harmful 0.5 lies above both harmless rows, harmful 0.2 above one of two: 3 of 4 pairs.
    assert area_under_curve(scores, labels, "all") == pytest.approx(0.75)
    assert area_under_curve(scores, labels, "explicit") == pytest.approx(1.0)
    assert area_under_curve(scores, labels, "identity_shift") == pytest.approx(0.5)


def test_a_tie_counts_half_and_a_rejected_row_not_at_all() -> None:
    labels = [PLAIN, EXPLICIT, PLAIN, EXPLICIT]
    assert area_under_curve({0: 0.1, 1: 0.1, 3: 0.2}, labels, "all") == pytest.approx(0.75)


def test_share_removed_by_group() -> None:
    labels = [PLAIN, PLAIN, REFUSAL, EXPLICIT, EXPLICIT, SHIFT]
    scores = {0: 0.0, 1: 0.5, 2: 0.1, 3: 0.5, 4: 0.4, 5: 0.9}
    assert share_removed(scores, labels, 0.5, "harmless") == pytest.approx(1 / 3)
    assert share_removed(scores, labels, 0.5, "explicit") == pytest.approx(1 / 2)
    assert share_removed(scores, labels, 0.5, "identity_shift") == 1.0
    assert share_removed(scores, labels, float("inf"), "harmless") == 0.0


def test_evaluation_by_kind() -> None:
    labels = [EXPLICIT, PLAIN, EXPLICIT, PLAIN, REFUSAL]
    scores = {0: 0.5, 1: 0.1, 2: 0.2, 3: 0.3, 4: -0.5}
    plain, refusal, explicit = evaluate(scores, labels, threshold=0.3)
    assert plain == {
        "kind": "plain",
        "harmful": False,
        "rows": 2,
        "removed": 1,
        "mean_fihs": pytest.approx(0.2),
        "auroc": None,
    }
    assert (refusal["kind"], refusal["removed"], refusal["harmful"]) == ("refusal", 0, False)
    # Of 2 x 3 pairs only (0.2, 0.3) is in the wrong order.
    assert explicit == {
        "kind": "explicit_opening",
        "harmful": True,
        "rows": 2,
        "removed": 1,
        "mean_fihs": pytest.approx(0.35),
        "auroc": pytest.approx(5 / 6),
    }
