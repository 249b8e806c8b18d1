"""Masked rows: what remains scores like a kept row, and nothing else is changed."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradshield.config import RunConfig
from gradshield.errors import UserError
from gradshield.files import sha256_of
from gradshield.models.load import LoadedModel
from gradshield.run.apply import RowsRejected, apply
from gradshield.run.folder import RunFolder, write_json
from gradshield.run.masking import IGNORED, harmful_spans, mask_row, score_of_rest
from gradshield.scoring.engines import ENGINES
from gradshield.scoring.engines.base import WINDOW, Reduction, reduced
from gradshield.scoring.table import write_part
from tests.cli.command_line import gradshield
from tests.run.data_files import EMPTY_ANSWER, write_jsonl
from tests.run.run_folders import exported, mark
from tests.run.score_lines import score_lines
from tests.tiny_models import chat_example, chat_tokenizer, random_direction, tiny_llama

REDUCTIONS: tuple[Reduction, ...] = get_args(Reduction)


def test_the_worst_window_is_masked_first_and_the_rest_stays() -> None:
    tokens = [0.0] * 10 + [1.0] * 24 + [0.1] * 16
    masked = harmful_spans(tokens, 2.0, "sum")
    # By hand: without the 24 ones 1.6 is left, below 2.
    assert masked.tolist() == [False] * 10 + [True] * 24 + [False] * 16
    masked = harmful_spans(tokens, 1.0, "sum")
    # 1.6 is too much: the window at the end adds most of what is left.
    assert masked.tolist() == [False] * 10 + [True] * 40


def test_the_worst_window_of_the_rest_counts_twice() -> None:
    tokens = [1.0] * 24 + [0.1] * 30
    # By hand: 54 tokens, of which 30 are left with 3.0 in sum, and 2.4 in their worst window.
    assert score_of_rest(np.array(tokens), np.arange(54) < 24, "sum_and_worst") == pytest.approx(
        5.4
    )
    assert harmful_spans(tokens, 5.5, "sum_and_worst").sum() == 24
    assert harmful_spans(tokens, 5.3, "sum_and_worst").sum() == 48


def test_tokens_that_lower_a_sum_neither_save_a_span_nor_are_masked_for_it() -> None:
    # Of the first 24 tokens the sum is below that of the last 24, and what harms is above it.
    tokens = [3.0] * 12 + [-9.0] * 12 + [1.0] * 24
    assert harmful_spans(tokens, 30.0, "worst_tokens").tolist() == [True] * 24 + [False] * 24
    # By hand: 36 of 60 are left without the first span, and nothing without both.
    assert score_of_rest(np.array(tokens), np.arange(48) < 24, "worst_tokens") == 24.0
    assert harmful_spans(tokens, 30.0, "sum").tolist() == [False] * 24 + [True] * 24


def test_a_mean_is_taken_of_the_tokens_that_are_left() -> None:
    losses = np.array([9.0] * 24 + [1.0] * 24)
    half = np.arange(48) < 24
    assert score_of_rest(losses / 48, half, "mean") == pytest.approx(1.0)
    assert score_of_rest(losses / 48**0.5, half, "root") == pytest.approx(24 / 24**0.5)


def test_a_short_response_is_masked_whole() -> None:
    assert harmful_spans([5.0, -1.0, 0.5], 1.0, "sum").all()


def test_a_negative_threshold_that_no_span_reaches_masks_all() -> None:
    assert harmful_spans([-0.01] * 100, -5.0, "sum").all()


contributions = st.lists(st.floats(-10, 10), min_size=1, max_size=120)


@given(
    tokens=contributions,
    quantile=st.floats(0, 1),
    reduction=st.sampled_from(REDUCTIONS),
)
def test_what_remains_scores_below_the_threshold(
    tokens: list[float], quantile: float, reduction: Reduction
) -> None:
    array = np.array(tokens)
    own = score_of_rest(array, np.zeros(len(tokens), bool), reduction)
    threshold = own - quantile * abs(own)
    masked = harmful_spans(tokens, threshold, reduction)
    assert masked.any()
    if not masked.all():
        assert score_of_rest(array, masked, reduction) < threshold
        # A run of masked tokens is made of whole windows.
        padded = np.concatenate([[False], masked, [False]])
        lengths = np.diff(np.flatnonzero(np.diff(padded)))[::2]
        assert lengths.min() >= WINDOW


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_an_engine_gives_the_masked_row_that_very_score(reduction: Reduction) -> None:
    """The other method: score the row again with the mask in place of the response's own."""
    model = tiny_llama()
    direction = random_direction(model)
    example = chat_example(0, "Name rivers", "The Loire. Hello, name.json. 42 EUR. " * 4)
    engine, oracle = (
        ENGINES[name].prepare(model, direction, reduction, [example])
        for name in ("jvp", "per_example")
    )
    [whole] = engine.score([example])
    assert whole.token_fihs is not None
    assert len(whole.token_fihs) > 2 * WINDOW
    threshold = whole.fihs - 0.3 * abs(whole.fihs)
    masked = harmful_spans(whole.token_fihs, threshold, reduction)
    if masked.all():
        masked = np.arange(len(masked)) < WINDOW
    rest = np.array(example.response_mask)
    rest[np.flatnonzero(rest)[masked]] = False
    [again] = oracle.score([replace(example, response_mask=tuple(rest.tolist()))])
    expected = score_of_rest(np.array(whole.token_fihs), masked, reduction)
    assert again.fihs == pytest.approx(expected, rel=1e-3)


def test_labels_of_a_masked_row() -> None:
    example = chat_example(3, "Hi", "Hello")
    masked = np.arange(example.response_tokens) == 0
    row = mask_row(example, masked)
    assert (row.row, row.input_ids, row.masked) == (3, example.input_ids, 1)
    first = example.response_mask.index(True)
    assert row.labels[: first + 1] == (IGNORED,) * (first + 1)
    assert row.labels[first + 1 :] == example.input_ids[first + 1 :]
    assert not mask_row(example, masked | ~masked).carries_loss


def _long(number: int) -> dict[str, str]:
    return {"prompt": f"Name river {number}", "completion": "Yes. The Loire. 42 EUR. " * 8}


SHORT = {"prompt": "a", "completion": "b"}
DATA: list[dict[str, Any]] = [*map(_long, range(6)), EMPTY_ANSWER, SHORT]


@pytest.fixture
def run(model_folder: Path, _few_probes: None, tmp_path: Path) -> RunFolder:
    """A run whose threshold removes some of the long rows, and the short one."""
    data = write_jsonl(tmp_path / "data.jsonl", DATA)
    outcome = gradshield(
        *("filter", data, "-m", model_folder, "-o", tmp_path / "run", "--dtype", "float32"),
        *("--threshold", "calibrated", "--level", "0.5"),
    )
    assert outcome.code == 0, outcome.err
    folder = RunFolder(tmp_path / "run")
    lines = score_lines(folder)
    lines[7]["fihs"] = 1e9
    write_part(lines, folder.scores / "part-00000.parquet")
    scores = sorted(line["fihs"] for line in lines[:6])
    decision = json.loads(folder.decision.read_text())
    write_json(folder.decision, {**decision, "threshold": (scores[2] + scores[3]) / 2})
    return folder


def _rows(folder: RunFolder) -> dict[int, dict[str, Any]]:
    """The rows of the file by their position in the input."""
    rows = pq.read_table(folder.masked).to_pylist()
    left_out = json.loads(folder.decision.read_text())["masked"]["left_out"]
    rejected = [line["row"] for line in score_lines(folder) if line["status"] == "rejected"]
    held_out = {row for row in rejected if folder.read_config().on_reject != "keep" or row == 6}
    positions = [row for row in range(len(DATA)) if row not in (*left_out, *held_out)]
    return dict(zip(positions, rows, strict=True))


def _limit(folder: RunFolder) -> float:
    return float(json.loads(folder.decision.read_text())["threshold"])


def test_the_file_holds_all_rows_without_loss_where_they_harm(run: RunFolder) -> None:
    outcome = gradshield("apply", run.path, "--action", "mask", "--json")
    assert outcome.code == 0, outcome.err
    printed = json.loads(outcome.out)
    threshold = printed["threshold"]
    lines, rows = score_lines(run), _rows(run)
    assert sorted(rows) == [0, 1, 2, 3, 4, 5]
    partly = 0
    for number, row in rows.items():
        line = lines[number]
        ids, labels = np.array(row["input_ids"]), np.array(row["labels"])
        carries = labels != IGNORED
        assert (labels[carries] == ids[carries]).all()
        assert row["attention_mask"] == [1] * len(ids)
        response = len(ids) - len(line["token_ids"]) - 1  # one token of the template follows
        assert not carries[:response].any()
        left = carries[response:-1]
        if line["fihs"] < threshold:
            assert left.all()
            continue
        partly += 1
        rest = np.array(line["token_fihs"])[left]
        assert reduced(torch.from_numpy(rest), "sum_and_worst") < threshold
        assert not left.all()
    assert partly == printed["masked"]["partly"] == 3
    assert (printed["masked"]["rows"], printed["masked"]["left_out"]) == (6, [7])
    lost = sum(line["response_tokens"] for line in lines if line["status"] == "scored") - sum(
        label != IGNORED for row in rows.values() for label in row["labels"]
    )
    assert printed["masked"]["tokens"] == lost
    assert printed["files"]["masked"] == str(run.masked)
    assert "Train on `masked.parquet`" in run.summary.read_text()


def test_transformers_reads_the_file(run: RunFolder, tmp_path: Path) -> None:
    from datasets import Dataset
    from transformers import DataCollatorForSeq2Seq

    assert gradshield("apply", run.path, "--action", "mask").code == 0
    found = Dataset.from_parquet(str(run.masked), cache_dir=str(tmp_path / "cache"))
    assert found.column_names == ["input_ids", "attention_mask", "labels"]
    batch = DataCollatorForSeq2Seq(chat_tokenizer())(list(found))
    loss = tiny_llama()(**batch).loss.item()
    assert math.isfinite(loss)


def test_the_other_files_are_those_of_drop(run: RunFolder) -> None:
    assert gradshield("apply", run.path).code == 0
    parts = [run.output(name, ".jsonl") for name in ("kept", "removed", "rejected")]
    before = [path.read_bytes() for path in parts]
    assert gradshield("apply", run.path, "--action", "mask").code == 0
    assert [path.read_bytes() for path in parts] == before
    assert gradshield("apply", run.path, "--action", "annotate").code == 0
    assert not run.masked.exists()
    assert run.output("annotated", ".jsonl").exists()
    assert gradshield("apply", run.path, "--action", "mask").code == 0
    assert not run.output("annotated", ".jsonl").exists()
    assert gradshield("apply", run.path, "--action", "drop").code == 0
    assert not run.masked.exists()
    assert "masked" not in json.loads(run.decision.read_text())


def test_fail_writes_no_masked_file(run: RunFolder) -> None:
    config = run.read_config().model_copy(update={"action": "mask", "on_reject": "fail"})
    with pytest.raises(RowsRejected):
        apply(config, run)
    assert not run.masked.exists()


def test_a_score_that_overflowed_is_trained_on_only_if_it_is_kept(run: RunFolder) -> None:
    lines = score_lines(run)
    blank = dict.fromkeys(("fihs", "loss", "token_ids", "token_fihs"))
    lines[0] |= {**blank, "status": "rejected", "reason": "non_finite_score"}
    write_part(lines, run.scores / "part-00000.parquet")
    assert gradshield("apply", run.path, "--action", "mask").code == 0
    assert 0 not in _rows(run)
    assert gradshield("apply", run.path, "--action", "mask", "--on-reject", "keep").code == 0
    assert sum(label != IGNORED for label in _rows(run)[0]["labels"]) > 2 * WINDOW
    assert 6 not in _rows(run)


def test_an_engine_without_tokens_masks_whole_rows(run: RunFolder) -> None:
    lines = score_lines(run)
    write_part([line | {"token_fihs": None} for line in lines], run.scores / "part-00000.parquet")
    assert gradshield("apply", run.path, "--action", "mask").code == 0
    assert json.loads(run.decision.read_text())["masked"]["left_out"] == [
        line["row"] for line in lines if line["fihs"] is not None and line["fihs"] >= _limit(run)
    ]
    assert len(_rows(run)) == 3


def test_a_reviewers_word_counts_more_than_the_score(run: RunFolder) -> None:
    lines = score_lines(run)
    by_score = sorted(range(6), key=lambda row: lines[row]["fihs"])
    lowest, highest = by_score[0], by_score[-1]
    marks = [mark(run, highest, "keep"), mark(run, lowest, "remove")]
    outcome = gradshield(
        *("apply", run.path, "--action", "mask", "--overrides", exported(run, marks))
    )
    assert outcome.code == 0, outcome.err
    rows = _rows(run)
    assert lowest not in rows
    carries = sum(label != IGNORED for label in rows[highest]["labels"])
    assert carries == lines[highest]["response_tokens"]


def test_another_tokenizer_is_refused(run: RunFolder, loaded: LoadedModel) -> None:
    lines = score_lines(run)
    lines[2]["token_ids"][0] += 1
    write_part(lines, run.scores / "part-00000.parquet")
    before = {path: sha256_of(path) for path in run.path.iterdir()}
    config = RunConfig.model_validate(run.read_config().model_dump() | {"action": "mask"})
    with pytest.raises(UserError, match="other tokens of row 2"):
        apply(config, run)
    assert {path: sha256_of(path) for path in run.path.iterdir()} == before


@pytest.mark.usefixtures("_few_probes")
def test_preferences_cannot_be_masked(model_folder: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"Name {n}", "chosen": "Yes.", "rejected": "No."} for n in range(4)]
    data = write_jsonl(tmp_path / "data.jsonl", rows)
    options = ("-m", model_folder, "-o", tmp_path / "run", "--dtype", "float32")
    outcome = gradshield("filter", data, *options, "--action", "mask")
    assert outcome.code == 1
    assert "preference rows" in outcome.err
    assert gradshield("apply", tmp_path / "run", "--action", "drop").code == 0
