"""`gradshield filter` on preference rows, as a user calls it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command_line import gradshield
from tests.cli.conftest import RULE
from tests.run.data_files import write_jsonl

ROWS = [
    {"prompt": f"Name river {n}.", "chosen": "Yes." + "!" * n, "rejected": "No. The Loire."}
    for n in range(8)
]


def test_preferences_are_found_out_and_filtered(model_folder: Path, tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "prefs.jsonl", [*ROWS, {"prompt": "Hi", "completion": "Hello"}])
    run = tmp_path / "run"
    outcome = gradshield(
        *("filter", data, "-m", model_folder, "-o", run, "--dtype", "float32", *RULE),
        *("--preference-loss", "ipo", "--beta", "0.2"),
    )
    assert outcome.code == 0, outcome.err
    said = " ".join(outcome.err.split())
    assert "format: preference (8 rows, first line 1)" in said
    assert "FIHS is that of the IPO loss (beta 0.2)" in said
    assert "The file mixes preference rows (8) and plain rows (1)" in said
    written = [(run / f"{name}.jsonl").read_bytes() for name in ("kept", "removed", "rejected")]
    assert sorted(b"".join(written).splitlines()) == sorted(data.read_bytes().splitlines())
    assert "the IPO loss (beta 0.2)" in (run / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("option", "value"), [("--beta", "0"), ("--beta", "nan"), ("--preference-loss", "kto")]
)
def test_impossible_options_are_one_line(tmp_path: Path, option: str, value: str) -> None:
    data = write_jsonl(tmp_path / "prefs.jsonl", ROWS)
    outcome = gradshield("filter", data, "-o", tmp_path / "run", option, value)
    assert outcome.code == 1
    assert option in outcome.err
    assert "Traceback" not in outcome.err


def test_a_profile_is_for_rows_of_one_answer(model_folder: Path, tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"}])
    options = ("-m", model_folder, "-o", tmp_path / "run", "--profile", "trl")
    outcome = gradshield("filter", data, *options, "--format", "preference")
    assert outcome.code == 1
    assert "the profile trl is for rows of one answer" in outcome.err
