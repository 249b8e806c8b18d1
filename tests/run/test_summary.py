"""The summary of a run made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gradshield.config import RunConfig
from gradshield.run.folder import RunFolder, write_json
from gradshield.run.summary import highest_rows, threshold_text, write_summary
from gradshield.scoring.table import columns_of, rejected_line, write_part


def _line(row: int, fihs: float | None) -> dict[str, Any]:
    status = "rejected" if fihs is None else "scored"
    scored = {"fihs": fihs, "loss": 1.5, "response_tokens": 3, "status": status}
    return rejected_line(row, f"id-{row}", "bad") | (scored if fihs is not None else {})


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path)
    scores = [0.5, None, -0.25, 0.75, None]
    lines = [_line(row, fihs) for row, fihs in enumerate(scores)]
    write_part(lines, folder.scores / "part-00000.parquet")
    reasons = [{"row": 1, "line": 2, "reason": "empty_response", "detail": "turn 2 has no text"}]
    reasons += [
        {"row": row, "line": None, "reason": "missing_field", "detail": "none"}
        for row in range(4, 10)
    ]
    write_json(folder.rejections, reasons)
    write_json(
        folder.decision,
        {
            "threshold": 0.5,
            "method": "paper",
            "reason": "Two groups.",
            "kept": 1,
            "removed": 2,
            "rejected": 2,
        },
    )
    write_json(folder.provenance, {"identity": {"proxy": "contrast"}, "versions": {"torch": "9.9"}})
    write_json(folder.engine, {"notes": ["jvp: as asked", "a note"], "warning": "Off by 2 %."})
    return folder


def test_it_says_what_was_decided_and_why(folder: RunFolder) -> None:
    write_summary(RunConfig(data_path="data.jsonl"), folder)
    text = folder.summary.read_text(encoding="utf-8")
    assert "Of 5 rows of `data.jsonl`, **1 are kept, 2 removed and 2 rejected**" in text
    assert "Threshold: 0.5000, by the rule `paper`" in text
    assert "## Why this threshold\n\nTwo groups." in text
    assert "- proxy: `contrast`" in text
    assert "- torch: `9.9`" in text
    assert "- engine: jvp: as asked; a note\n- **Off by 2 %.**" in text


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "\n\nTrain on `kept.*`.\n"),
        ({"action": "annotate"}, "choose rows yourself in `annotated.*`"),
        ({"action": "downweight"}, "multiply the loss of each row by its `gradshield_weight`"),
        ({"action": "mask"}, "Train on `masked.parquet`"),
        ({"action": "annotate", "on_reject": "fail"}, "There is no file to train on"),
    ],
)
def test_it_says_which_file_to_train_on(
    folder: RunFolder, settings: dict[str, str], words: str
) -> None:
    write_summary(RunConfig.model_validate({"data_path": "data.jsonl", **settings}), folder)
    assert words in folder.summary.read_text(encoding="utf-8")


def test_a_run_from_before_engines_were_recorded_has_a_summary_too(folder: RunFolder) -> None:
    folder.engine.unlink()
    write_summary(RunConfig(data_path="data.jsonl"), folder)
    assert "- engine:" not in folder.summary.read_text(encoding="utf-8")


def test_highest_rows_come_first_with_their_outcome(folder: RunFolder) -> None:
    write_summary(RunConfig(data_path="data.jsonl"), folder)
    table = [
        line for line in folder.summary.read_text(encoding="utf-8").splitlines() if "| id-" in line
    ]
    assert table == [
        "| 3 | id-3 | +0.7500 | 1.50 | 3 | removed |",
        "| 0 | id-0 | +0.5000 | 1.50 | 3 | removed |",
        "| 2 | id-2 | -0.2500 | 1.50 | 3 | kept |",
    ]


def test_an_id_cannot_break_the_table(folder: RunFolder) -> None:
    line = _line(3, 0.75) | {"id": "a|b\nc"}
    write_part([line], folder.scores / "part-00000.parquet")
    write_summary(RunConfig(data_path="data.jsonl"), folder)
    assert "| 3 | a\\|b c | +0.7500 |" in folder.summary.read_text(encoding="utf-8")


def test_five_rejections_are_shown_and_the_rest_counted(folder: RunFolder) -> None:
    write_summary(RunConfig(data_path="data.jsonl"), folder)
    text = folder.summary.read_text(encoding="utf-8")
    assert "- row 1 (line 2): empty_response: turn 2 has no text" in text
    assert "- row 4: missing_field: none" in text
    assert "- row 8:" not in text
    assert "- and 2 more, all in `rejections.json`" in text


def test_nothing_rejected_has_no_section(folder: RunFolder) -> None:
    write_json(folder.rejections, [])
    write_summary(RunConfig(data_path="data.jsonl"), folder)
    assert "## Rejected rows" not in folder.summary.read_text(encoding="utf-8")


def test_highest_rows_are_cut_and_leave_rejected_ones_out() -> None:
    table = columns_of([_line(row, row / 100) for row in range(20)] + [_line(20, None)])
    assert [line["row"] for line in highest_rows(table)] == list(range(19, 9, -1))
    assert [line["row"] for line in highest_rows(table, 1)] == [19]


def test_infinite_threshold_in_words() -> None:
    assert threshold_text(float("inf")) == "none (nothing is removed)"
    assert threshold_text(-0.12345) == "-0.1235"
