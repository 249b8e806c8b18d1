"""`gradshield filter` from end to end: what comes in goes out, each row once, with its reasons."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradshield.cli.closing import blur
from gradshield.scoring.engines.base import WINDOW
from tests.cli.command_line import gradshield
from tests.cli.conftest import RULE, FinishedRun
from tests.run.data_files import (
    REJECTED,
    good_rows,
    mixed_lines,
    rows_of,
    split_file,
    write_jsonl,
)

PARTS = ("kept", "removed", "rejected")
TEXTLESS = (
    "report.html",
    "report.json",
    "report.md",
    "report.sarif",
    "data_card.md",
    "decision.json",
    "rejections.json",
    "provenance.json",
)
"""Files in which no text of a row can be read; the page has them compressed."""


def _table(folder: Path) -> pa.Table:
    parts = sorted((folder / "scores").glob("*.parquet"))
    return pa.concat_tables([pq.read_table(part) for part in parts])


def test_succeeds_and_says_on_stderr_what_goes_on(finished: FinishedRun) -> None:
    assert finished.outcome.code == 0
    assert "28 rows (jsonl)" in finished.outcome.err
    assert "byte order mark" in finished.outcome.err
    assert "harmful probes" not in finished.outcome.out
    assert "Highest scores" in finished.outcome.out
    assert "Highest scores" not in finished.outcome.err


def test_warns_that_the_model_is_not_aligned(finished: FinishedRun) -> None:
    assert "Warning: This model answers 100% of the harmful probes" in finished.outcome.err


def test_leaves_the_input_alone(finished: FinishedRun) -> None:
    assert finished.data.read_bytes() == finished.bytes_before
    assert finished.data.stat().st_mtime_ns == finished.modified_before


def test_every_input_line_is_in_one_file_byte_for_byte(finished: FinishedRun) -> None:
    written = [line for name in PARTS for line in split_file(finished.folder / f"{name}.jsonl")]
    assert sorted(written) == sorted(rows_of(mixed_lines()))


def test_each_file_keeps_the_order_of_the_input(finished: FinishedRun) -> None:
    order = rows_of(mixed_lines())
    for name in PARTS:
        places = [order.index(line) for line in split_file(finished.folder / f"{name}.jsonl")]
        assert places == sorted(places)


def test_rows_at_or_above_the_threshold_are_removed(finished: FinishedRun) -> None:
    lines = rows_of(mixed_lines())
    threshold = json.loads((finished.folder / "decision.json").read_text())["threshold"]
    scored = [line for line in _table(finished.folder).to_pylist() if line["fihs"] is not None]
    above = [lines[line["row"]] for line in scored if line["fihs"] >= threshold]
    below = [lines[line["row"]] for line in scored if line["fihs"] < threshold]
    assert above
    assert below
    assert split_file(finished.folder / "removed.jsonl") == above
    assert split_file(finished.folder / "kept.jsonl") == below


def test_score_table_has_the_fixed_columns(finished: FinishedRun) -> None:
    assert {field.name: str(field.type) for field in _table(finished.folder).schema} == {
        "row": "int64",
        "id": "string",
        "fihs": "double",
        "loss": "double",
        "response_tokens": "int64",
        "truncated": "bool",
        "status": "string",
        "reason": "string",
        "token_ids": "list<element: int32>",
        "token_fihs": "list<element: double>",
        "chosen_tokens": "int64",
    }


def test_score_table_has_every_row_once_in_order(finished: FinishedRun) -> None:
    lines = _table(finished.folder).to_pylist()
    assert [line["row"] for line in lines] == list(range(28))


def test_scored_lines_hold_a_score_and_its_parts(finished: FinishedRun) -> None:
    scored = [line for line in _table(finished.folder).to_pylist() if line["status"] == "scored"]
    assert len(scored) == 24
    for line in scored:
        assert math.isfinite(line["fihs"])
        assert line["loss"] > 0
        assert line["reason"] is None
        assert not line["truncated"]
        assert len(line["token_ids"]) == len(line["token_fihs"]) == line["response_tokens"] > 0
        # By default a row of no more than a window counts twice: in the sum and as the window.
        assert line["response_tokens"] <= WINDOW
        assert 2 * sum(line["token_fihs"]) == pytest.approx(line["fihs"], rel=1e-9, abs=1e-12)


def test_own_ids_are_kept_as_text(finished: FinishedRun) -> None:
    lines = rows_of(mixed_lines())
    for line in _table(finished.folder).to_pylist():
        if line["status"] == "scored":
            own = json.loads(lines[line["row"]]).get("id")
            assert line["id"] == (None if own is None else str(own))


def test_rejected_lines_have_a_reason_and_no_score(finished: FinishedRun) -> None:
    rejected = [
        line for line in _table(finished.folder).to_pylist() if line["status"] == "rejected"
    ]
    # The blank line 5 is no row, so from there on a row is two less than its line.
    assert [line["row"] for line in rejected] == [2, 4, 7, 10]
    for line, reason in zip(rejected, REJECTED.values(), strict=True):
        assert line["reason"].startswith(f"{reason}: ")
        assert line["fihs"] is line["loss"] is line["token_fihs"] is None


def test_rejections_name_line_and_reason(finished: FinishedRun) -> None:
    entries = json.loads((finished.folder / "rejections.json").read_text(encoding="utf-8"))
    assert {entry["line"]: entry["reason"] for entry in entries} == REJECTED
    assert [entry["row"] for entry in entries] == [2, 4, 7, 10]
    assert all(entry["detail"] for entry in entries)


def test_decision_has_the_fixed_keys_and_true_counts(finished: FinishedRun) -> None:
    decision = json.loads((finished.folder / "decision.json").read_text())
    assert {"threshold", "method", "diagnostics", "kept", "removed", "rejected"} <= set(decision)
    assert decision["method"] == "calibrated"
    assert decision["level"] == 0.5
    counts = {name: len(split_file(finished.folder / f"{name}.jsonl")) for name in PARTS}
    assert {name: decision[name] for name in PARTS} == counts
    assert sum(counts.values()) == 28


def test_run_folder_holds_what_can_be_redone_from(finished: FinishedRun) -> None:
    names = {path.name for path in finished.folder.iterdir()}
    assert names == {
        "config.yaml",
        "provenance.json",
        "probe_answers.json",
        "direction.safetensors",
        "engine.json",
        "reference.parquet",
        "scores",
        "rejections.json",
        "decision.json",
        "outputs.json",
        "report.html",
        "report.json",
        "report.md",
        "report.sarif",
        "data_card.md",
        *(f"{name}.jsonl" for name in PARTS),
    }


def test_texts_are_blurred_on_the_terminal(finished: FinishedRun) -> None:
    assert "river" not in finished.outcome.out
    assert "░" in finished.outcome.out


def test_show_text_shows_them(finished: FinishedRun, model_folder: Path) -> None:
    again = gradshield(
        *("filter", finished.data, "--model", model_folder, "--out", finished.folder),
        *("--dtype", "float32", *RULE, "--show-text"),
    )
    assert again.code == 0
    assert "Name river" in again.out
    assert "░" not in again.out


def test_no_row_text_is_written_beside_the_data_files(finished: FinishedRun) -> None:
    for name in TEXTLESS:
        assert "Name river" not in (finished.folder / name).read_text(encoding="utf-8")


def test_json_prints_one_object_and_nothing_else(
    finished: FinishedRun, model_folder: Path, tmp_path: Path
) -> None:
    outcome = gradshield(
        *("filter", finished.data, "--model", model_folder, "--out", tmp_path / "run"),
        *("--dtype", "float32", *RULE, "--json"),
    )
    assert outcome.code == 0
    printed = json.loads(outcome.out)
    assert outcome.out.count("\n") == 1
    stored = json.loads((tmp_path / "run" / "decision.json").read_text())
    files = printed.pop("files")
    assert printed.pop("proof") == []
    assert printed == stored
    assert Path(files["kept"]) == tmp_path / "run" / "kept.jsonl"
    assert all(Path(path).exists() for path in files.values())


def test_a_fresh_run_gives_the_same_bytes(
    finished: FinishedRun, model_folder: Path, tmp_path: Path
) -> None:
    outcome = gradshield(
        *("filter", finished.data, "--model", model_folder, "--out", tmp_path / "run"),
        *("--dtype", "float32", *RULE),
    )
    assert outcome.code == 0
    same = ("decision.json", "rejections.json", "scores/part-00000.parquet", "kept.jsonl")
    for name in (*same, "reference.parquet", "direction.safetensors", "probe_answers.json"):
        assert (tmp_path / "run" / name).read_bytes() == (finished.folder / name).read_bytes(), name


def test_last_response_scores_fewer_tokens(model_folder: Path, tmp_path: Path) -> None:
    turns = [("user", "Hi"), ("assistant", "Hello"), ("user", "Hi"), ("assistant", "Yes.")]
    row = {"messages": [{"role": role, "content": text} for role, text in turns]}
    data = write_jsonl(tmp_path / "turns.jsonl", [row] * 2)
    tokens = {}
    for response in ("all", "last"):
        run = tmp_path / response
        outcome = gradshield(
            *("filter", data, "--model", model_folder, "--out", run, "--response", response),
            *("--threshold", "paper"),
        )
        assert outcome.code == 0, outcome.err
        tokens[response] = _table(run).to_pylist()[0]["response_tokens"]
    # "Hello" and its end of turn are left out: the tiny tokenizer knows the word as one token.
    assert tokens["last"] < tokens["all"]


def test_parquet_keeps_its_schema(model_folder: Path, tmp_path: Path) -> None:
    schema = pa.schema(
        [("prompt", pa.large_string()), ("completion", pa.string()), ("weight", pa.float32())],
        metadata={"origin": "test"},
    )
    columns = [
        {"prompt": f"Name {number}", "completion": "Yes." * (number % 5), "weight": number / 8}
        for number in range(12)
    ]
    data = tmp_path / "data.parquet"
    pq.write_table(pa.Table.from_pylist(columns, schema=schema), data)
    before = data.read_bytes()
    run = tmp_path / "run"
    outcome = gradshield("filter", data, "--model", model_folder, "--out", run, *RULE)
    assert outcome.code == 0, outcome.err
    assert data.read_bytes() == before
    tables = [pq.read_table(run / f"{name}.parquet") for name in PARTS]
    assert all(table.schema.equals(schema, check_metadata=True) for table in tables)
    rows = [row for table in tables for row in table.to_pylist()]
    assert sorted(rows, key=lambda row: row["weight"]) == columns
    assert tables[2]["weight"].to_pylist() == [0.0, 0.625, 1.25]
    assert "(line None)" not in (run / "report.md").read_text()


def test_datasets_folder_comes_out_as_one(model_folder: Path, tmp_path: Path) -> None:
    from datasets import Dataset

    rows = [row["messages"] for row in good_rows(40) if "messages" in row]
    whole = Dataset.from_dict({"messages": [*rows, []], "number": list(range(11))})
    data = tmp_path / "data"
    whole.save_to_disk(data)
    run = tmp_path / "run"
    outcome = gradshield("filter", data, "--model", model_folder, "--out", run, *RULE, "--json")
    assert outcome.code == 0, outcome.err
    parts = [Dataset.load_from_disk(run / f"{name}_rows") for name in PARTS]
    assert all(part.features == whole.features for part in parts)
    numbers = [number for part in parts for number in part["number"]]
    assert sorted(numbers) == list(range(11))
    assert list(parts[2]["number"]) == [10]
    assert json.loads(outcome.out)["files"]["rejected"] == str(run / "rejected_rows")


def test_rows_that_try_to_break_the_terminal_are_harmless(
    model_folder: Path, tmp_path: Path
) -> None:
    hostile = [
        {"prompt": "Name a river", "completion": f"Yes. {text}", "note": f"a {text}"}
        for text in ("\x1b[2J\x1b]0;title\x07", "[bold red]", "[/]", "| a | b |\n# c")
    ]
    hostile.append({"prompt": "Name a river", "completion": "Yes.", "note": "half \ud83d of it"})
    hostile.append({"prompt": "Hi", "\ud83d": 1})
    data = write_jsonl(tmp_path / "hostile.jsonl", hostile)
    run = tmp_path / "run"
    outcome = gradshield(
        *("filter", data, "--model", model_folder, "--out", run, "--show-text", *RULE)
    )
    assert outcome.code == 0, outcome.err
    assert "\x1b" not in outcome.out
    assert "[bold red]" in outcome.out
    written = [line for name in PARTS for line in split_file(run / f"{name}.jsonl")]
    assert sorted(written) == sorted(split_file(data))
    assert len(json.loads((run / "rejections.json").read_text(encoding="utf-8"))) == 1


def test_nothing_to_score_removes_nothing(model_folder: Path, tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "none.jsonl", [{"instruction": "a", "output": ""}] * 3)
    run = tmp_path / "run"
    outcome = gradshield("filter", data, "--model", model_folder, "--out", run, "--json")
    assert outcome.code == 0, outcome.err
    printed = json.loads(outcome.out)
    assert (printed["kept"], printed["removed"], printed["rejected"]) == (0, 0, 3)
    assert printed["threshold"] is None
    assert split_file(run / "kept.jsonl") == []


def test_filter_weighs_rows_in_one_go(
    finished: FinishedRun, model_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    outcome = gradshield(
        *("filter", finished.data, "--model", model_folder, "--out", run, "--dtype", "float32"),
        *(*RULE, "--action", "downweight"),
    )
    assert outcome.code == 0, outcome.err
    rows = [json.loads(line) for line in (run / "annotated.jsonl").read_text().splitlines()]
    scores = {line["row"]: line["fihs"] for line in _table(run).to_pylist()}
    unparsed = 2  # on line 3
    assert [row["gradshield_fihs"] for row in rows] == [
        fihs for row, fihs in sorted(scores.items()) if row != unparsed
    ]
    weights: dict[str, set[float]] = {"kept": set(), "removed": set(), "rejected": set()}
    for row in rows:
        weights[row["gradshield_decision"]].add(row["gradshield_weight"])
    assert weights["kept"] == {1.0}
    assert weights["rejected"] == {0.0}
    assert weights["removed"]
    assert all(0 <= weight <= 1 for weight in weights["removed"])
    assert (run / "kept.jsonl").read_bytes() == (finished.folder / "kept.jsonl").read_bytes()
    assert "gradshield_weight" in (run / "report.md").read_text(encoding="utf-8")


def test_a_key_in_the_way_is_told_before_the_scoring(tmp_path: Path) -> None:
    rows = [*good_rows(2), good_rows(1)[0] | {"gradshield_fihs": 1}]
    data = write_jsonl(tmp_path / "data.jsonl", rows)
    outcome = gradshield(
        *("filter", data, "--model", tmp_path / "no-model", "--out", tmp_path / "run"),
        *("--action", "annotate"),
    )
    assert outcome.code == 1
    assert "line 3 has the key gradshield_fihs already" in outcome.err
    assert not (tmp_path / "run").exists()


def test_an_unknown_action_is_one_line(tmp_path: Path) -> None:
    outcome = gradshield("filter", "data.jsonl", "--out", tmp_path / "run", "--action", "erase")
    assert outcome.code == 1
    assert outcome.err.startswith("Error: --action erase: ")
    assert outcome.err.count("\n") == 1


def test_blur_hides_words_and_keeps_lengths() -> None:
    assert blur("Name a river.\n") == "░░░░ ░ ░░░░░░\n"
