"""Inputs of every kind through the command line, with a tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict, load_from_disk

from gradshield.models.load import LoadedModel
from gradshield.progress import Progress
from gradshield.run import check as check_step
from tests.cli.command_line import Outcome, gradshield
from tests.cli.conftest import RULE
from tests.run.data_files import NO_ANSWER, good_rows, write_jsonl
from tests.run.few_probes import own_answers


def call_filter(data: object, model: Path, folder: Path, *options: object) -> Outcome:
    common = ("--model", model, "--out", folder, "--dtype", "float32", *RULE)
    return gradshield("filter", data, *common, *options)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    rows = good_rows(12)
    rows[5] = NO_ANSWER
    for index, name in enumerate(("part-9", "part-10", "part-11")):
        write_jsonl(tmp_path / "data" / f"{name}.jsonl", rows[4 * index : 4 * index + 4])
    return tmp_path / "data"


def lines_in(folder: Path) -> list[bytes]:
    return [
        row for path in sorted(folder.rglob("*.jsonl")) for row in path.read_bytes().splitlines()
    ]


def test_shards_go_in_and_come_out(shards: Path, model_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    outcome = call_filter(f"{shards}/*.jsonl", model_folder, run, "--action", "downweight")
    assert outcome.code == 0, outcome.err
    assert "3 files, 12 rows (jsonl); format: " in outcome.err
    for part in ("kept", "removed", "rejected", "annotated"):
        assert sorted(path.name for path in (run / part).iterdir()) == [
            "part-10.jsonl",
            "part-11.jsonl",
            "part-9.jsonl",
        ]
        assert f"{part.capitalize():<11}{run / part}" in outcome.out
    parts = [lines_in(run / part) for part in ("kept", "removed", "rejected")]
    assert sorted(row for part in parts for row in part) == sorted(lines_in(shards))
    assert len(parts[2]) == 1
    (rejected,) = json.loads((run / "rejections.json").read_text())
    assert (rejected["row"], rejected["line"], rejected["file"]) == (5, 2, "part-10.jsonl")
    summary = (run / "report.md").read_text()
    assert "row 5 (line 2 of part-10.jsonl): no_assistant_turn" in summary
    assert "Train on `annotated/`" in summary
    assert json.loads((run / "provenance.json").read_text())["files"] == 3
    again = gradshield("apply", run, "--shards", 2, "--action", "drop", "--json")
    assert again.code == 0
    assert json.loads(again.out)["files"]["kept"] == str(run / "kept")
    assert all("-of-0000" in path.name for path in (run / "kept").iterdir())
    assert sorted(lines_in(run / "kept")) == sorted(parts[0])
    assert not (run / "annotated").exists()


def test_the_rows_of_shards_score_as_those_of_one_file(
    shards: Path, model_folder: Path, tmp_path: Path
) -> None:
    single = tmp_path / "single.jsonl"
    names = ("part-9", "part-10", "part-11")
    single.write_bytes(b"".join((shards / f"{name}.jsonl").read_bytes() for name in names))
    tables = []
    for data, run in ((shards, tmp_path / "many"), (single, tmp_path / "one")):
        outcome = gradshield("score", data, "-m", model_folder, "-o", run, "--dtype", "float32")
        assert outcome.code == 0, outcome.err
        tables.append(pq.read_table(run / "scores"))
    assert tables[0].equals(tables[1])


def test_one_split_of_several(model_folder: Path, tmp_path: Path) -> None:
    turns = [
        {"prompt": row.get("prompt", "a"), "completion": row.get("completion", "b")}
        for row in good_rows(12)
    ]
    tables = {"train": Dataset.from_list(turns), "test": Dataset.from_list(turns[:2])}
    DatasetDict(tables).save_to_disk(tmp_path / "data")
    unnamed = call_filter(tmp_path / "data", model_folder, tmp_path / "run")
    assert unnamed.code == 1
    assert "holds the splits train, test; name one of them, such as --split train" in unnamed.err
    named = call_filter(tmp_path / "data", model_folder, tmp_path / "run", "--split", "train")
    assert named.code == 0, named.err
    assert "12 rows (datasets, split train)" in named.err
    parts = [load_from_disk(str(tmp_path / "run" / f"{n}_rows")) for n in ("kept", "removed")]
    assert [list(part) for part in parts] == [["train"], ["train"]]
    assert sum(len(part["train"]) for part in parts) == 12


def test_a_data_set_of_the_hub(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADSHIELD_CACHE", str(tmp_path / "cache"))

    def load(name: str, subset: str | None, *, split: str, revision: str | None) -> Dataset:
        assert (name, subset, split, revision) == ("owner/name", "small", "train", "v1")
        return Dataset.from_list([{"text": f"Name river {n}."} for n in range(8)])

    monkeypatch.setattr(datasets, "load_dataset", load)
    options = ("--split", "train", "--subset", "small", "--data-revision", "v1")
    run = tmp_path / "run"
    outcome = call_filter("hub:owner/name", model_folder, run, *options)
    assert outcome.code == 0, outcome.err
    assert "hub:owner/name: 8 rows (parquet); format: text (8 rows, first row 0)" in outcome.err
    monkeypatch.setattr(datasets, "load_dataset", None)
    # Later steps need no network.
    assert gradshield("apply", run, "--action", "annotate").code == 0
    rows = [pq.read_table(run / f"{part}.parquet").num_rows for part in ("kept", "removed")]
    assert sum(rows) == pq.read_table(run / "annotated.parquet").num_rows == 8


REFUSED: list[tuple[str, tuple[str, ...], str]] = [
    ("data/*.parquet", (), "no file has a name of this pattern"),
    ("data", ("--split", "train"), "--split train is for saved data sets and the hub"),
    ("mixed", (), "the files are of several kinds: 1 of the kind csv (.csv), 1 of the kind jsonl"),
    ("owner/absent", (), "owner/absent: no such file or folder, and on the hub, "),
    ("data/part-8", (), "data/part-8: no such file or folder; if the hub is meant, name hub:data"),
    ("data", ("--shards", "0"), "greater than or equal to 1"),
]


@pytest.mark.parametrize(("name", "options", "words"), REFUSED)
def test_what_cannot_be_used_is_one_line(
    shards: Path,
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    options: tuple[str, ...],
    words: str,
) -> None:
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed" / "a.jsonl").write_text("{}")
    (tmp_path / "mixed" / "b.csv").write_text("a\n1\n")
    monkeypatch.chdir(tmp_path)
    outcome = call_filter(name, model_folder, tmp_path / "run", *options)
    assert outcome.code == 1
    assert words in outcome.err
    said = [line for line in outcome.err.splitlines() if not line.startswith("Fetching ")]
    assert len(said) == 1
    assert not (tmp_path / "run").exists()


def test_a_pattern_without_quotes_gets_a_hint(shards: Path, tmp_path: Path) -> None:
    outcome = gradshield("filter", *sorted(shards.iterdir()), "--out", tmp_path / "run")
    assert outcome.code == 1
    assert "A pattern of files goes in quotes." in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def answer(loaded: LoadedModel, progress: Progress) -> object:
        return own_answers(["I cannot help with that."] * 4, ["Yes."] * 4)

    monkeypatch.setattr(check_step, "answer_probes", answer)
    # The tiny model is untrained, and guesses.
    monkeypatch.setattr(check_step, "is_guessing", lambda loaded, loss: False)
    return answer


@pytest.mark.usefixtures("answering")
def test_check_shows_what_was_found(shards: Path, model_folder: Path) -> None:
    image = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {}}]
    rows: list[dict[str, Any]] = [
        {
            "messages": [
                {"role": "user", "content": image},
                {"role": "assistant", "content": "Yes.", "reasoning_content": "Hello"},
            ],
            "tools": [{"type": "function", "function": {"name": "weather"}}],
        },
        {"text": "Name a river."},
    ]
    write_jsonl(shards / "part-12.jsonl", rows)
    outcome = gradshield("check", "-m", model_folder, "--data", shards)
    assert outcome.code == 0, outcome.out
    for words in (
        "4 files, 14 rows (jsonl); format: messages (",
        "text (1 row, first line 2 of part-12.jsonl)",
        "13 can be scored, 1 cannot",
        "      part-9.jsonl: 4 rows",
        "      part-12.jsonl: 2 rows",
        "      line 2 of part-10.jsonl: no_assistant_turn",
        "1 row has parts that are no text (1 image_url): only the text beside them is scored",
        "1 row has reasoning that the chat template does not print",
        "1 row has tools declared that the chat template does not print",
    ):
        assert words in outcome.out
