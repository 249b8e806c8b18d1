"""A report of more rows than its page shows: what it shows and says, and the memory it takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from gradshield.benchmark.memory import peak_memory
from gradshield.config import RunConfig
from gradshield.files import sha256_of
from gradshield.reporting import details, selection
from gradshield.reporting.document import report_schema
from gradshield.run.folder import RunFolder, write_json
from gradshield.run.report import write_report
from gradshield.run.threshold import read_scores, write_decision
from gradshield.scoring.table import write_part
from gradshield.threshold import Decision
from tests.reporting.runs import plain_rows, synthetic_run
from tests.run.page_content import page_data, page_details
from tests.run.run_folders import line
from tests.run.test_report import Told, overrule

ROWS, HIGH, REJECTED = 60, (3, 11, 25, 31, 48, 52), (7, 8)
AT = 3.0


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return synthetic_run(tmp_path, plain_rows(ROWS), high=HIGH, rejected=REJECTED, at=AT)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page with room for twenty rows."""
    monkeypatch.setattr(selection, "MOST_ROWS", 20)
    monkeypatch.setattr(selection, "MOST_BORDERLINE", 5)
    monkeypatch.setattr(selection, "MOST_REMOVED", 4)
    monkeypatch.setattr(selection, "MOST_REJECTED", 1)


def _written(run: RunFolder, **options: Any) -> tuple[str, dict[str, Any]]:
    page = write_report(run.read_config(), run, **options)
    report = json.loads((page.parent / "report.json").read_text(encoding="utf-8"))
    return page.read_text(encoding="utf-8"), report


@pytest.mark.usefixtures("few")
def test_the_page_shows_the_rows_of_most_interest(run: RunFolder) -> None:
    overrule(run)
    page, report = _written(run)
    shown = page_data(page)["columns"]["row"]
    assert len(shown) == len(set(shown)) == 20
    assert shown == sorted(shown)
    scores = {row["row"]: row["fihs"] for row in report["rows"] if row["fihs"] is not None}
    kept = sorted((row for row in scores if scores[row] < AT), key=lambda row: -scores[row])
    removed = sorted((row for row in scores if scores[row] >= AT), key=lambda row: scores[row])
    assert {3, 5, 11} <= set(shown)  # what a reviewer decided on
    assert set(kept[:5]) <= set(shown)
    assert {*removed[:2], *removed[-2:]} <= set(shown)
    assert set(shown) & set(REJECTED) == {7}
    assert len(set(shown) & set(kept[5:])) >= 6  # a sample of the others
    assert set(page_details(page)) == set(shown)


@pytest.mark.usefixtures("few")
def test_nothing_is_missing_silently(run: RunFolder) -> None:
    told = Told()
    page, report = _written(run, progress=told)
    counts = report["counts"]
    assert [row["row"] for row in report["rows"]] == list(range(ROWS))
    Draft202012Validator(json.loads(report_schema())).validate(report)
    log = json.loads((run.path / "report.sarif").read_text(encoding="utf-8"))
    assert len(log["runs"][0]["results"]) == counts["removed"] == len(HIGH)
    data = page_data(page)
    assert (data["total"], data["scored"]) == (ROWS, ROWS - len(REJECTED))
    note = next(text for text in told.lines if "20 of 60 rows" in text)
    assert "4 of 6 removed, 1 of 2 rejected" in note
    assert "report.json" in note
    assert "gradshield show RUN --row N" in note
    assert note in page
    findings = {finding["code"]: finding["rows"] for finding in report["findings"]}
    assert (findings["high_fihs"], findings["rejected"]) == (6, 2)  # of all rows


@pytest.mark.usefixtures("few")
def test_the_same_run_shows_the_same_rows(run: RunFolder) -> None:
    assert _written(run) == _written(run)


def test_a_page_with_room_shows_all_rows(run: RunFolder) -> None:
    told = Told()
    page, _ = _written(run, progress=told)
    data = page_data(page)
    assert data["columns"]["row"] is None
    assert len(data["columns"]["fihs"]) == data["total"] == ROWS
    assert "The table shows" not in page
    assert told.lines == []


def test_more_texts_than_fit_into_memory_are_the_same(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _written(run)
    monkeypatch.setattr(details, "MOST_STORED_BYTES", 100)
    assert _written(run) == expected


def test_shades_of_many_tokens_are_those_of_a_part_of_the_rows(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = read_scores(run)
    lines = list(table.lines())
    monkeypatch.setattr(details, "MOST_TOKENS", int(table.response_tokens.sum()) // 2)
    contributions = [line["token_fihs"] for line in lines[::2] if line["token_fihs"]]
    expected = np.quantile(np.abs(np.concatenate(contributions)), 0.99)
    assert details.shading_scale(table) == pytest.approx(expected)


def _large_run(place: Path, model: Path, rows: int) -> RunFolder:
    """A run of short rows, one in twenty of them removed."""
    place.mkdir()
    data = place / "train.jsonl"
    with data.open("w", encoding="utf-8") as stream:
        for row in range(rows):
            content = {"prompt": f"What is 7 times {row}?", "completion": f"It is {7 * row}."}
            stream.write(json.dumps({"id": row, **content}) + "\n")
    run = RunFolder(place / "run")
    scores = np.random.default_rng(0).normal(size=rows)
    scores[::20] += 9
    tokens = np.random.default_rng(1).integers(0, 250, (rows, 3)).tolist()
    for start in range(0, rows, 1000):
        part = [
            line(row, float(scores[row]), str(row)) | {"token_ids": tokens[row]}
            for row in range(start, min(start + 1000, rows))
        ]
        write_part(part, run.scores / f"part-{start:06d}.parquet")
    write_json(run.rejections, [])
    config = RunConfig.model_validate({"data_path": str(data), "model": {"name": str(model)}})
    run.write_config(config)
    identity = {"data_sha256": sha256_of(data), "model": "tiny"}
    write_json(run.provenance, {"identity": identity, "data": str(data), "versions": {}})
    decision = Decision(4.5, "paper", "Two groups of rows.", {})
    write_decision(run, read_scores(run), decision, config.threshold)
    return run


def test_memory_hardly_grows_with_the_rows(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without columns a row took ten kilobytes, and a million rows would not fit."""
    monkeypatch.setattr(selection, "MOST_ROWS", 500)
    few, many = 2_000, 30_000
    peaks = []
    for rows in (few, few, many):  # the first time, more is loaded than rows
        large = _large_run(tmp_path / str(len(peaks)), run.path.parent / "model", rows)
        with peak_memory() as peak:
            write_report(large.read_config(), large)
        peaks.append(peak.bytes)
        report = json.loads((large.path / "report.json").read_text(encoding="utf-8"))
        assert len(report["rows"]) == report["counts"]["rows"] == rows
        assert report["counts"]["removed"] == rows // 20
    if peaks[-1] is None or peaks[-2] is None:
        pytest.skip("this system does not tell the peak of a process")
    assert peaks[-1] - peaks[-2] < 3_000 * (many - few)
