"""Exit codes and the one line that comes with them, help and version."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gradshield import __version__
from tests.cli.command_line import Outcome, gradshield
from tests.run.data_files import EMPTY_ANSWER, good_rows, mixed_jsonl, split_file, write_jsonl

PAPER = ("--threshold", "paper")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "data.jsonl", good_rows(8))


def _is_one_line_without_traceback(outcome: Outcome) -> bool:
    errors = [line for line in outcome.err.splitlines() if line.startswith("Error: ")]
    return len(errors) == 1 and "Traceback" not in outcome.err and outcome.out == ""


def _fails(outcome: Outcome, *words: str) -> None:
    assert outcome.code == 1
    assert _is_one_line_without_traceback(outcome), outcome.err
    assert all(word in outcome.err for word in words), outcome.err


def test_missing_file(model_folder: Path, tmp_path: Path) -> None:
    _fails(
        gradshield("filter", tmp_path / "no.jsonl", "-m", model_folder, "-o", tmp_path / "run"),
        "no.jsonl",
        "no such file",
    )
    assert not (tmp_path / "run").exists()


def test_unusable_file(model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "data.pdf").write_text("%PDF-1.4\n")
    _fails(
        gradshield("score", tmp_path / "data.pdf", "-m", model_folder, "-o", tmp_path / "run"),
        "data.pdf",
        "not supported",
    )


def test_a_place_that_cannot_be_written(data: Path, model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    run = tmp_path / "file" / "run"
    _fails(gradshield("filter", data, "-m", model_folder, "-o", run), "Not a directory", str(run))


def test_unknown_model(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    _fails(gradshield("filter", data, "-m", "builtin:no", "-o", run), "builtin:no", "choose")
    _fails(gradshield("filter", data, "-m", tmp_path / "no", "-o", run), "no model folder")
    assert not run.exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--threshold", "no-such-rule"),
        ("--proxy", "no-such-proxy"),
        ("--engine", "no-such-engine"),
        ("--format", "no-such-format"),
        ("--response", "first"),
        ("--on-reject", "drop"),
        ("--dtype", "int8"),
        ("--level", "1.5"),
    ],
)
def test_impossible_option_is_named_before_any_work(
    data: Path, tmp_path: Path, option: str, value: str
) -> None:
    # The model does not exist either: it is not looked for.
    outcome = gradshield("filter", data, "-m", "./no", "-o", tmp_path / "run", option, value)
    _fails(outcome, option, value)
    assert not (tmp_path / "run").exists()


def test_input_inside_the_run_folder_is_refused_even_with_force(
    model_folder: Path, data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert gradshield("filter", data, "-m", model_folder, "-o", run, *PAPER).code == 0
    kept = (run / "kept.jsonl").read_bytes()
    outcome = gradshield("filter", run / "kept.jsonl", "-m", model_folder, "-o", run, "--force")
    _fails(outcome, "kept.jsonl", "--out")
    assert (run / "kept.jsonl").read_bytes() == kept


def test_rejections_under_fail_end_with_2_and_no_kept_file(
    model_folder: Path, tmp_path: Path
) -> None:
    data, run = mixed_jsonl(tmp_path / "mixed.jsonl"), tmp_path / "run"
    options = (data, "-m", model_folder, "-o", run, *PAPER)
    assert gradshield("filter", *options).code == 0
    assert (run / "kept.jsonl").exists()
    outcome = gradshield("filter", *options, "--on-reject", "fail")
    assert outcome.code == 2
    assert _is_one_line_without_traceback(outcome)
    assert "4 rows" in outcome.err
    assert not (run / "kept.jsonl").exists()
    assert (run / "rejected.jsonl").exists()


def test_fail_also_takes_a_kept_folder_away(model_folder: Path, tmp_path: Path) -> None:
    from datasets import Dataset

    rows = {"prompt": ["Hi"] * 4, "completion": ["Yes.", "No.", "Hello", ""]}
    Dataset.from_dict(rows).save_to_disk(tmp_path / "data")
    options = (tmp_path / "data", "-m", model_folder, "-o", tmp_path / "run", *PAPER)
    assert gradshield("filter", *options).code == 0
    assert (tmp_path / "run" / "kept_rows").is_dir()
    assert gradshield("filter", *options, "--on-reject", "fail").code == 2
    assert not (tmp_path / "run" / "kept_rows").exists()


def test_fail_without_rejections_succeeds(data: Path, model_folder: Path, tmp_path: Path) -> None:
    outcome = gradshield(
        *("filter", data, "-m", model_folder, "-o", tmp_path / "run", "--on-reject", "fail"), *PAPER
    )
    assert outcome.code == 0


def test_keep_puts_rejected_rows_in_their_place(model_folder: Path, tmp_path: Path) -> None:
    rows = good_rows(8)
    rows[1:1] = [EMPTY_ANSWER]
    rows[5:5] = [EMPTY_ANSWER | {"id": "second"}]
    data, run = write_jsonl(tmp_path / "data.jsonl", rows), tmp_path / "run"
    outcome = gradshield("filter", data, "-m", model_folder, "-o", run, "--on-reject", "keep")
    assert outcome.code == 0
    lines = split_file(data)
    removed = split_file(run / "removed.jsonl")
    assert split_file(run / "rejected.jsonl") == [lines[1], lines[5]]
    assert split_file(run / "kept.jsonl") == [line for line in lines if line not in removed]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("filter", "a.jsonl", "--out", "run", "--treshold", "paper"), "--treshold"),
        (("filter", "a.jsonl"), "--out"),
        (("filter", "a.jsonl", "--out", "run", "--max-length", "many"), "--max-length"),
        (("fliter", "a.jsonl"), "fliter"),
    ],
)
def test_a_mistyped_command_is_not_taken_for_rejected_rows(
    arguments: tuple[str, ...], words: str
) -> None:
    _fails(gradshield(*arguments), words, "--help")


COMMANDS = {
    "filter": ("kept.*", "removed.*", "rejected.*", "decision.json"),
    "check": ("Writes no file",),
    "score": ("scores/*.parquet",),
    "threshold": ("decision.json", "No data file is written"),
    "apply": ("kept, removed and rejected rows", "--action", "annotate", "downweight"),
    "align": ("Folder of the PEFT adapter to write",),
    "benchmark": ("OUT/STUDY.json",),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_is_written(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    outcome = gradshield(command, "--help")
    assert outcome.code == 0
    text = " ".join(re.sub(r"[│╭╮╰╯─]", " ", outcome.out).split())
    assert all(words in text for words in COMMANDS[command]), text


def test_help_lists_every_command_and_the_exit_codes() -> None:
    outcome = gradshield("--help")
    assert outcome.code == 0
    assert all(command in outcome.out for command in COMMANDS)
    assert "Exit codes" in outcome.out
    assert gradshield() == outcome


def test_version() -> None:
    outcome = gradshield("--version")
    assert (outcome.code, outcome.out) == (0, f"gradshield {__version__}\n")


def test_the_installed_command_ends_with_the_code(tmp_path: Path) -> None:
    """In a process of its own, as a shell or CI sees it."""
    command = [sys.executable, "-c", "from gradshield.cli.main import app; app()"]
    outcome = subprocess.run(
        [*command, "filter", "no.jsonl", "--out", "run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 1
    assert outcome.stdout == ""
    assert outcome.stderr == "Error: no.jsonl: no such file or folder\n"
