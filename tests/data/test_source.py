"""Inputs of one file and of many: every row once, in order, and back into the same files."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict, load_from_disk
from hypothesis import given, settings
from hypothesis import strategies as st

from gradshield.data import DataError, DataSource, load_examples, open_source
from gradshield.data.parts import divide_evenly
from tests import tiny_tokenizers as tiny


def line(number: int) -> bytes:
    return json.dumps({"prompt": f"n{number}", "completion": "b"}).encode() + b"\n"


def shards(folder: Path, **contents: Sequence[int]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, numbers in contents.items():
        (folder / f"{name}.jsonl").write_bytes(b"".join(map(line, numbers)))
    return folder


def prompts(source: DataSource) -> list[str]:
    return [row.value["prompt"] for row in source.read() if row.value is not None]


def test_rows_are_numbered_through_all_files_and_know_their_own(tmp_path: Path) -> None:
    folder = shards(tmp_path / "data", part10=[3, 4], part9=[0, 1, 2], part11=[])
    (folder / "README.md").write_text("about")
    source = open_source(folder)
    assert [path.name for path in source.files] == ["part9.jsonl", "part10.jsonl", "part11.jsonl"]
    assert source.counts == (3, 2, 0)
    assert prompts(source) == [f"n{i}" for i in range(5)]
    rows = source.read()
    assert [row.position for row in rows] == list(range(5))
    assert rows[4].place == "line 2 of part10.jsonl"
    assert source.description == f"{folder}: 3 files, 5 rows (jsonl)"
    note = f"not read, since they are no data files: README.md in {folder}"
    assert source.facts.notes == (note,)
    assert prompts(open_source(f"{folder}/part*.jsonl")) == prompts(source)


def test_one_file_of_a_folder_or_pattern_is_that_file(tmp_path: Path) -> None:
    folder = shards(tmp_path / "data", only=[0, 1])
    for name in (folder, f"{folder}/*.jsonl", folder / "only.jsonl"):
        source = open_source(name)
        assert not source.is_sharded
        assert [row.place for row in source.read()] == ["line 1", "line 2"]
        assert source.sha256() == open_source(folder / "only.jsonl").sha256()
        assert open_source(source.location).sha256() == source.sha256()


def test_files_of_one_name_in_several_folders_are_told_apart(tmp_path: Path) -> None:
    for name, numbers in (("a", [0]), ("b", [1, 2])):
        shards(tmp_path / "data" / name, train=numbers)
    source = open_source(f"{tmp_path}/data/*/train.jsonl")
    assert [row.place for row in source.read()] == [
        "line 1 of a/train.jsonl",
        "line 1 of b/train.jsonl",
        "line 2 of b/train.jsonl",
    ]
    target = source.write_subset([0, 2], tmp_path / "run", "kept")
    assert target == tmp_path / "run" / "kept"
    assert (target / "a" / "train.jsonl").read_bytes() == line(0)
    assert (target / "b" / "train.jsonl").read_bytes() == line(2)


def test_names_that_differ_in_capitals_of_the_ending_stay_apart(tmp_path: Path) -> None:
    for name, number in (("a.jsonl", 1), ("a.JSONL", 0)):
        (tmp_path / name).write_bytes(line(number))
    source = open_source(f"{tmp_path}/a.*")
    target = source.write_subset([0, 1], tmp_path / "run", "kept")
    assert (target / "a.JSONL").read_bytes() == line(0)
    assert (target / "a.jsonl").read_bytes() == line(1)
    names = [part.name for part in source.parts([0, 1], "annotated", ".parquet")]
    assert names == ["annotated/a.JSONL.parquet", "annotated/a.jsonl.parquet"]


def test_identity_is_that_of_content_names_and_order(tmp_path: Path) -> None:
    folder = shards(tmp_path / "data", a=[0], b=[1])
    before = open_source(folder).sha256()
    moved = folder.rename(tmp_path / "moved")
    assert open_source(moved).sha256() == before
    shards(moved, a=[1], b=[0])
    exchanged = open_source(moved).sha256()
    shards(moved, a=[0], b=[1], c=[])
    assert len({before, exchanged, open_source(moved).sha256()}) == 3


def test_shards_of_subsets_keep_an_empty_file_for_an_empty_one(tmp_path: Path) -> None:
    source = open_source(shards(tmp_path / "data", a=[0], b=[1, 2]))
    kept = source.write_subset([1], tmp_path, "kept")
    assert (kept / "a.jsonl").read_bytes() == b""
    # A pass over the output takes it, and gives it again.
    again = open_source(kept)
    assert again.counts == (0, 1)
    assert prompts(again) == ["n1"]
    with pytest.raises(DataError, match="there are no rows in its 2 files"):
        open_source(source.write_subset([], tmp_path, "none"))


@pytest.mark.parametrize(
    ("rows", "number", "lengths"),
    [(10, 3, [3, 3, 4]), (4, 4, [1] * 4), (2, 5, [1, 1]), (0, 3, [0]), (7, 1, [7])],
)
def test_even_division(rows: int, number: int, lengths: list[int]) -> None:
    chunks = list(divide_evenly(range(rows), number))
    assert [len(chunk) for chunk in chunks] == lengths
    assert [row for chunk in chunks for row in chunk] == list(range(rows))


def test_a_number_of_files_of_nearly_equal_length(tmp_path: Path) -> None:
    many = open_source(shards(tmp_path / "data", a=[0], b=[1, 2, 3, 4], c=[5, 6]))
    single = open_source(shards(tmp_path / "one", all=range(7)))
    for source, name in ((many, "m"), (single, "s")):
        target = source.write_subset([0, 1, 3, 4, 5, 6], tmp_path, name, shards=4)
        names = sorted(path.name for path in target.iterdir())
        assert names == [f"{name}-{i:05d}-of-00004.jsonl" for i in range(4)]
        contents = [(target / part).read_bytes() for part in names]
        expected = [[0], [1, 3], [4], [5, 6]]
        assert contents == [b"".join(map(line, numbers)) for numbers in expected]


def test_a_number_of_files_where_columns_differ_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["b"], "more": [1]}), tmp_path / "b.parquet")
    source = open_source(f"{tmp_path}/*.parquet")
    with pytest.raises(DataError, match=r"b.parquet has other columns than a.parquet.*--shards"):
        source.write_subset([0, 1], tmp_path, "kept", shards=1)
    assert not (tmp_path / "kept").exists()
    kept = source.write_subset([1], tmp_path, "kept")
    assert pq.ParquetFile(kept / "a.parquet").read().schema.names == ["text"]
    assert pq.ParquetFile(kept / "b.parquet").read().to_pylist() == [{"text": "b", "more": 1}]


def saved(folder: Path, **splits: list[str]) -> Path:
    DatasetDict(
        {n: Dataset.from_dict({"text": texts}) for n, texts in splits.items()}
    ).save_to_disk(folder)
    return folder


def test_a_split_is_chosen_and_written_as_such(tmp_path: Path) -> None:
    path = saved(tmp_path / "saved", train=["a", "b", "c"], test=["d"])
    source = open_source(path, split="train")
    assert source.description == f"{path}: 3 rows (datasets, split train)"
    assert source.sha256() != open_source(path, split="test").sha256()
    target = source.write_subset([0, 2], tmp_path, "kept", shards=2)
    assert target == tmp_path / "kept_rows"
    after = load_from_disk(str(target))
    assert list(after) == ["train"]
    assert after["train"]["text"][:] == ["a", "c"]
    assert len(list((target / "train").glob("*.arrow"))) == 2
    # The output has one split, which need not be named.
    assert len(open_source(target).read()) == 2


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("saved", {}, "splits train, test; name one of them, such as --split train"),
        ("saved", {"split": "dev"}, "but not 'dev'; name one of them"),
        ("saved/train", {"split": "train"}, "the folder has no splits; leave out --split"),
        ("files", {"split": "train"}, "--split train is for saved data sets"),
        ("files/a.jsonl", {"split": "train"}, "--split train is for saved data sets"),
        ("files", {"subset": "x"}, "--subset x is for data sets of the hub only"),
        ("files", {"data_revision": "x"}, "--data-revision x is for data sets of the hub only"),
        ("absent.jsonl", {}, "no such file or folder"),
        ("a/b/c/absent", {}, "no such file or folder"),
        ("files/*.parquet", {}, "no file has a name of this pattern"),
    ],
)
def test_inputs_that_cannot_be_used(
    tmp_path: Path, name: str, options: dict[str, Any], words: str
) -> None:
    saved(tmp_path / "saved", train=["a"], test=["b"])
    shards(tmp_path / "files", a=[0], b=[1])
    with pytest.raises(DataError) as refusal:
        open_source(tmp_path / name, **options)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_examples_of_shards_are_those_of_one_file(tmp_path: Path) -> None:
    many = load_examples(shards(tmp_path / "many", a=[0, 1], b=[2]), tiny.plain_tokenizer())
    one = load_examples(shards(tmp_path / "one", a=[0, 1, 2]), tiny.plain_tokenizer())
    assert [e.input_ids for e in many.examples] == [e.input_ids for e in one.examples]


Writer = Callable[[Path, list[dict[str, Any]]], None]


def _jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    spaced = random.Random(len(rows))
    lines = [json.dumps(row, separators=(",", spaced.choice([":", ": "]))) for row in rows]
    ending = spaced.choice(["\n", "\r\n"])
    text = ending.join(lines) + (ending if rows and spaced.random() < 0.5 else "")
    path.write_bytes(text.encode("utf-8", "backslashreplace"))


def _csv(path: Path, rows: list[dict[str, Any]]) -> None:
    quoted = ['"' + str(row.get("text", "x")).replace('"', '""') + '"' for row in rows]
    path.write_bytes("\r\n".join(["text", *quoted]).encode("utf-8"))


def _array(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text(json.dumps(rows, indent=len(rows) % 3), encoding="utf-8")


def _gzip(path: Path, rows: list[dict[str, Any]]) -> None:
    _jsonl(path, rows)
    path.write_bytes(gzip.compress(path.read_bytes(), mtime=0))


def _parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    values = [json.dumps(row) for row in rows]
    pq.write_table(pa.table({"row": pa.array(values, pa.string())}), path)


WRITERS: dict[str, Writer] = {
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".json": _array,
    ".jsonl.gz": _gzip,
    ".parquet": _parquet,
}

words = st.text(st.sampled_from('ab \né"\\,'), min_size=1, max_size=6)
turns = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": words}),
    max_size=3,
)
any_row = st.one_of(
    st.fixed_dictionaries({"messages": turns}),
    st.fixed_dictionaries({"prompt": words, "completion": words}),
    st.fixed_dictionaries({"instruction": words, "output": words}),
    st.fixed_dictionaries({"text": words}),
)


def row_bytes(source: DataSource) -> list[bytes]:
    """What each row is in its file: its bytes, or its values where it has none."""
    if source.container.name in ("jsonl", "jsonl, gzip"):
        contents = [path.read_bytes() for path in source.files]
        if source.container.name != "jsonl":
            contents = [gzip.decompress(content) for content in contents]
        lines = [one for content in contents for one in content.split(b"\n")]
        return [one.rstrip(b"\r") for one in lines if one.strip()]
    return [json.dumps(row.value).encode() for row in source.read()]


@settings(max_examples=60)
@given(
    files=st.lists(st.lists(any_row, max_size=4), min_size=2, max_size=4).filter(any),
    suffix=st.sampled_from(sorted(WRITERS)),
    number=st.one_of(st.none(), st.integers(1, 4)),
    data=st.data(),
)
def test_the_three_parts_are_the_input(
    files: list[list[dict[str, Any]]], suffix: str, number: int | None, data: st.DataObject
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name) / "data"
        folder.mkdir()
        for index, rows in enumerate(files):
            WRITERS[suffix](folder / f"part-{index}{suffix}", rows)
        source = open_source(f"{folder}/*")
        inputs = row_bytes(source)
        fates = data.draw(
            st.lists(st.sampled_from("abc"), min_size=len(inputs), max_size=len(inputs))
        )
        for fate in "abc":
            wanted = [row for row, own in enumerate(fates) if own == fate]
            target = source.write_subset(wanted, Path(name), fate, number)
            if number is None:
                assert sorted(p.name for p in target.iterdir()) == [p.name for p in source.files]
            if wanted:
                assert row_bytes(open_source(target)) == [inputs[row] for row in wanted]
        assert source.sha256() == open_source(f"{folder}/*").sha256()
