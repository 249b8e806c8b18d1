"""`gradshield show`: the evidence in the terminal, hidden until asked for, and harmless to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gradshield.cli.show import find_row
from gradshield.data import open_source
from gradshield.errors import UserError
from gradshield.run.apply import review_of
from gradshield.run.folder import RunFolder
from gradshield.run.incoming_overrides import read_exported
from gradshield.run.overrides import record_overrides
from gradshield.scoring.table import columns_of
from tests.cli.command_line import gradshield
from tests.reporting.runs import chat, plain_rows, synthetic_run
from tests.run.run_folders import line, made_run

HOSTILE = "Name\x1b[2J \x9b31m\u202e place [bold]7[/bold]."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    rows = plain_rows(40)
    rows[6] = chat(HOSTILE, rows[5]["messages"][1]["content"], id="\x1b]0;title\x07")
    place = tmp_path_factory.mktemp("shown")
    return synthetic_run(place, rows, high=(6, 20), rejected=(9,), at=3.5)


def _mark(folder: RunFolder, row: int, **fields: str) -> None:
    run = review_of(folder, open_source(folder.path.parent / "train.jsonl"))
    mark = {
        "row": row,
        "fingerprint": run.rows[row],
        "action": "keep",
        "reviewer": "Ada",
        "time": "2026-11-26T07:00:00Z",
        "reason": "Fine \x1b[2J.",
    }
    path = folder.path.parent / "overrides.json"
    content = {"version": 1, "run": run.fingerprint, "overrides": [{**mark, **fields}]}
    path.write_text(json.dumps(content))
    record_overrides(folder, read_exported(path, run), run)


def test_the_run_in_one_sentence_with_scores_and_rows(folder: RunFolder) -> None:
    outcome = gradshield("show", folder.path)
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("Of 40 rows of train.jsonl, 2 (5.0 %) are removed")
    assert "+3.5000 ┄┄ threshold ┄┄" in outcome.out
    for title in ("Highest below the threshold", "Lowest at or above it", "Could not be scored"):
        assert title in outcome.out
    assert "empty_response" in outcome.out
    assert "Row texts are blurred; --show-text shows them." in outcome.out
    assert "Name" not in outcome.out
    assert "Loire" not in outcome.out


def test_top_limits_the_rows(folder: RunFolder) -> None:
    assert "Highest below" not in gradshield("show", folder.path, "--top", 0).out
    two = gradshield("show", folder.path, "--top", 2).out
    assert two.count(" kept ") < gradshield("show", folder.path).out.count(" kept ")


@pytest.mark.parametrize("show_text", [(), ("--show-text",)])
@pytest.mark.parametrize("row", [(), ("--row", "6")])
def test_no_text_steers_the_terminal(
    folder: RunFolder, row: tuple[str, ...], show_text: tuple[str, ...]
) -> None:
    outcome = gradshield("show", folder.path, *row, *show_text)
    assert outcome.code == 0, outcome.err
    assert all(c.isprintable() or c == "\n" for c in outcome.out)


def test_a_row_with_its_text(folder: RunFolder) -> None:
    outcome = gradshield("show", folder.path, "--row", "20", "--show-text")
    assert outcome.code == 0, outcome.err
    assert "Row 20, line 21, source alpha" in outcome.out
    assert "removed: FIHS +" in outcome.out
    assert "rank " in outcome.out
    assert "high_fihs: Score at or above the threshold: removed." in outcome.out
    assert "user:\nName place 20." in outcome.out
    assert "assistant:\nThe " in outcome.out
    assert "Tokens that add most to the score" in outcome.out
    assert "Nearest kept rows by score" in outcome.out
    assert "Nearest removed rows by score:\n  row      6" in outcome.out
    assert "blurred" not in outcome.out


def test_markup_in_a_row_is_text(folder: RunFolder) -> None:
    outcome = gradshield("show", folder.path, "--row", "6", "--show-text")
    assert "place [bold]7[/bold]." in outcome.out
    assert "Nearly the same response:\n  row      5" in outcome.out


def test_the_words_of_a_row_are_hidden_until_asked_for(folder: RunFolder) -> None:
    outcome = gradshield("show", folder.path, "--row", "20")
    assert "user:\n░░░░ ░░░░░ ░░░" in outcome.out
    assert "Name" not in outcome.out


def test_what_reviewers_said_is_shown(folder: RunFolder) -> None:
    _mark(folder, 20)
    _mark(folder, 20, action="withdraw", reviewer="Bo", expires="2027-01-01T00:00:00Z")
    _mark(folder, 6)
    row = gradshield("show", folder.path, "--row", "20").out
    assert "Ada, 2026-11-26 07:00: keep: Fine \N{REPLACEMENT CHARACTER}[2J." in row
    assert "Bo, 2026-11-26 07:00: withdraw: " in row
    assert "(expires 2027-01-01)" in row
    run = gradshield("show", folder.path).out
    assert "Decided by reviewers" in run
    assert "kept (overruled)" in run


def test_a_rejected_row(folder: RunFolder) -> None:
    outcome = gradshield("show", folder.path, "--row", "9", "--show-text")
    assert "rejected: could not be scored: " in outcome.out
    assert "Name place 9." in outcome.out


def test_without_the_input_there_is_no_text_and_it_says_so(tmp_path: Path) -> None:
    folder = made_run(tmp_path)
    (tmp_path / "data.jsonl").unlink()
    outcome = gradshield("show", folder.path, "--row", "4", "--show-text")
    assert outcome.code == 0, outcome.err
    assert "is gone" in outcome.out
    assert "removed: FIHS +2.0000" in outcome.out


def test_without_its_tokenizer_no_token_is_shaded(tmp_path: Path) -> None:
    folder = made_run(tmp_path, model={"name": str(tmp_path / "nowhere")})
    outcome = gradshield("show", folder.path, "--row", "4", "--show-text")
    assert outcome.code == 0, outcome.err
    assert "no token is shaded" in outcome.out
    assert "Name river 4." in outcome.out


OWN_IDS = ("one", "0", "two", "two", None)
TABLE = columns_of([line(row, row / 10, own) for row, own in enumerate(OWN_IDS)])


@pytest.mark.parametrize(
    ("wanted", "row"),
    [("one", 0), ("1", 1), ("row:0", 0), ("id:0", 1), ("row:3", 3), ("3", 3)],
)
def test_rows_by_position_and_by_id(wanted: str, row: int) -> None:
    assert find_row(TABLE, wanted) == row


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("0", r"can be one of the rows 0, 1: write row:0"),
        ("two", r"can be one of the rows 2, 3"),
        ("5", "no row 5: the positions are 0 to 4"),
        ("-1", "no row -1"),
        ("id:1", "no row id:1"),
        ("row:one", "no row row:one"),
        ("9" * 40, "no row"),
        ("²", "no row"),
        ("", "no row"),
    ],
)
def test_rows_that_are_none_or_several(wanted: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        find_row(TABLE, wanted)


def test_before_anything_was_scored(tmp_path: Path) -> None:
    outcome = gradshield("show", tmp_path)
    assert outcome.code == 1
    assert "is no run folder" in outcome.err
