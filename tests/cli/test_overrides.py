"""`gradshield apply --overrides`: reviewers overrule the score, and their word stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gradshield.cli import apply, threshold
from gradshield.run.folder import RunFolder
from tests.cli.command_line import gradshield
from tests.run.run_folders import exported, made_run, mark, positions


@pytest.fixture(autouse=True)
def _no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report has its own tests, and takes longer than all of these."""
    for command in (apply, threshold):
        monkeypatch.setattr(command, "write_report", lambda *anything: None)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return made_run(tmp_path)


def _content(folder: RunFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.path.iterdir() if path.is_file()}


def test_rows_go_where_the_reviewer_said_and_all_is_told(folder: RunFolder) -> None:
    marks = [mark(folder, 4, "keep"), mark(folder, 0, "remove", reason="Hidden |\x1b[2J\n words")]
    outcome = gradshield("apply", folder.path, "--overrides", exported(folder, marks))
    assert outcome.code == 0, outcome.err
    assert positions(folder, "kept") == [3, 4, 5]
    assert positions(folder, "removed") == [0, 1]
    said = (
        "Reviewers overruled the score for 2 rows (1 kept → removed, 1 removed → kept) and agreed "
        "with it for 0: Ada (2)."
    )
    assert said in outcome.out
    assert "kept (overruled)" in outcome.out
    summary = folder.summary.read_text(encoding="utf-8")
    assert said in summary
    assert (
        "| 0 | -1.0000 | kept | removed | Ada | Hidden \\|\N{REPLACEMENT CHARACTER}\\[2J words |"
        in summary
    )
    assert "| 4 | +2.0000 | removed | kept | Ada | Read it twice. |" in summary
    assert "| 4 | own-4 | +2.0000 | 1.50 | 3 | kept (overruled) |" in summary


def test_applying_again_keeps_them(folder: RunFolder) -> None:
    path = exported(folder, [mark(folder, 4, "keep")])
    assert gradshield("apply", folder.path, "--overrides", path).code == 0
    before = _content(folder)
    for options in ((), ("--overrides", path)):
        outcome = gradshield("apply", folder.path, "--json", *options)
        assert json.loads(outcome.out)["overrides"]["overruled"][0]["row"] == 4
        assert {**_content(folder), "outputs.json": b""} == {**before, "outputs.json": b""}


def test_a_new_threshold_keeps_them(folder: RunFolder) -> None:
    path = exported(folder, [mark(folder, 4, "keep"), mark(folder, 0, "remove")])
    assert gradshield("apply", folder.path, "--overrides", path).code == 0
    outcome = gradshield("threshold", folder.path, "--threshold", "adaptive", "--json")
    assert outcome.code == 0, outcome.err
    decided = json.loads(outcome.out)
    assert decided["overrides"]["reviewers"] == {"Ada": 2}
    assert decided["kept"] + decided["removed"] + decided["rejected"] == 6
    assert gradshield("apply", folder.path).code == 0
    assert 4 in positions(folder, "kept")
    assert 0 in positions(folder, "removed")
    assert len(positions(folder, "kept")) == decided["kept"]


def test_all_rows_with_columns_follow(folder: RunFolder) -> None:
    path = exported(folder, [mark(folder, 4, "keep"), mark(folder, 0, "remove")])
    options = ("--overrides", path, "--action", "downweight")
    assert gradshield("apply", folder.path, *options).code == 0
    rows = map(json.loads, folder.output("annotated", ".jsonl").read_text().splitlines())
    found = [(row["gradshield_decision"], row["gradshield_weight"]) for row in rows]
    assert (found[0], found[4]) == (("removed", 0.0), ("kept", 1.0))


def test_one_that_cannot_be_applied_changes_nothing(folder: RunFolder) -> None:
    before = _content(folder)
    good, bad = mark(folder, 4, "keep"), mark(folder, 0, "remove", fingerprint="0" * 64)
    outcome = gradshield("apply", folder.path, "--overrides", exported(folder, [good, bad]))
    assert outcome.code == 1
    assert "override 2 (row 0)" in outcome.err
    assert "changed since" in outcome.err
    assert outcome.err.count("\n") == 1
    assert _content(folder) == before


def test_one_of_another_run_is_refused(folder: RunFolder, tmp_path: Path) -> None:
    other = made_run(tmp_path / "other", identity={"model": "another"})
    outcome = gradshield("apply", other.path, "--overrides", exported(folder, []))
    assert outcome.code == 1
    assert "was made for another run" in outcome.err


def test_a_missing_file(folder: RunFolder) -> None:
    outcome = gradshield("apply", folder.path, "--overrides", "nowhere.json")
    assert outcome.code == 1
    assert (
        outcome.err
        == "Error: There is no file nowhere.json: export it from the report of the run.\n"
    )


def test_other_inputs_clear_them(folder: RunFolder) -> None:
    path = exported(folder, [mark(folder, 4, "keep")])
    assert gradshield("apply", folder.path, "--overrides", path).code == 0
    folder.claim({"data_sha256": "other"}, {}, force=True)
    assert not folder.overrides.exists()
    assert not folder.outputs.exists()
