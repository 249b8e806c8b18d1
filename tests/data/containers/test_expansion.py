"""Tables that fill the memory once they are spelled out are refused before they are."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from gradshield.data.containers import open_container
from gradshield.data.containers.expansion import VALUE_BYTES, expanded_bytes, within_bounds
from gradshield.data.errors import DataError
from gradshield.errors import UserError

LONG = "x" * 1000


def named_often(text: str, times: int) -> pa.DictionaryArray:
    """A column that keeps a text once and names it in every row."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * times, pa.int32()), pa.array([text]))


@pytest.mark.parametrize(
    ("array", "values", "text"),
    [
        (pa.array(["ab", "cde", None]), 3, 5),
        (named_often("abc", 7), 7, 21),
        (pa.array([["ab"], ["c", "de"], None]), 3 + 3, 5),
        (pa.array([{"a": "bc", "d": [{"e": "fgh"}]}]), 1 + 1 + 1 + 1 + 1, 5),
        (pa.chunked_array([named_often("abc", 2), named_often("de", 3)]), 5, 12),
        (pa.array([1, 2, 3]), 3, 0),
        (pa.array(["ab", LONG, None, "c"], pa.string_view()), 4, 1003),
        (pa.array(["ab", LONG, "c"], pa.string_view())[1:], 2, 1001),
        (pa.array([[("k", "value")], []], pa.map_(pa.string(), pa.string())), 2 + 1 + 1, 6),
        (pa.nulls(9), 9, 0),
        (pa.DictionaryArray.from_arrays(pa.array([], pa.int8()), pa.array([], "string")), 0, 0),
    ],
)
def test_bytes_are_those_of_values_spelled_out(array: Any, values: int, text: int) -> None:
    # Offsets and validity bits, at most 16 bytes a value, count besides.
    found = expanded_bytes(array) - VALUE_BYTES * values - text
    assert 0 <= found <= 16 * (values + 1)


def test_what_shows_one_text_many_times_counts_it_as_often() -> None:
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([1000], pa.int32()), pa.array([LONG]))
    lists = pa.ListViewArray.from_arrays(
        pa.array([0] * 1000, pa.int32()), pa.array([1] * 1000, pa.int32()), pa.array([LONG])
    )
    for array in (runs, lists):
        assert expanded_bytes(array) >= 1000 * len(LONG)


def test_a_dictionary_of_other_values_counts_in_proportion() -> None:
    lists = pa.DictionaryArray.from_arrays(pa.array([0] * 100, pa.int8()), pa.array([[1] * 1000]))
    assert expanded_bytes(lists) >= 100 * 1000 * 8


def test_tables_pass_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = [pa.table({"a": [LONG]})] * 5
    each = expanded_bytes(tables[0].column("a"))
    monkeypatch.setenv("GRADSHIELD_MAX_GB", str(5 * each / 1e9))
    assert len(list(within_bounds(tables, Path("a")))) == 5
    monkeypatch.setenv("GRADSHIELD_MAX_GB", str((5 * each - 1) / 1e9))
    passed = []
    with pytest.raises(DataError, match="a: it unpacks to more than"):
        passed.extend(within_bounds(tables, Path("a")))
    assert len(passed) == 4


def flat(path: Path) -> Path:
    pq.write_table(pa.table({"prompt": named_often(LONG, 3000)}), path, store_schema=False)
    return path


def nested(path: Path) -> Path:
    """One row whose 3000 turns all say the same."""
    turns = pa.StructArray.from_arrays(
        [named_often("user", 3000), named_often(LONG, 3000)], ["role", "content"]
    )
    column = pa.ListArray.from_arrays(pa.array([0, 3000], pa.int32()), turns)
    pq.write_table(pa.table({"messages": column}), path, store_schema=False)
    return path


@pytest.mark.parametrize("make", [flat, nested])
def test_a_parquet_bomb_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    """3 MB of text in some kilobytes."""
    path = make(tmp_path / "a.parquet")
    assert path.stat().st_size < 20_000
    monkeypatch.setenv("GRADSHIELD_MAX_GB", "0.004")
    read = open_container(path).read(path)
    assert sum(len(str(row.value)) for row in read) > 3_000_000
    monkeypatch.setenv("GRADSHIELD_MAX_GB", "0.002")
    with pytest.raises(DataError, match=r"more than 0\.002 GB.*raise GRADSHIELD_MAX_GB"):
        open_container(path).read(path)


def test_columns_of_all_kinds_can_be_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measuring reads text as dictionaries, wherever it stands; reading does not."""
    often = 2000
    columns = {
        "text": pa.array(["ab"] * often),
        "large": pa.array(["ab"] * often, pa.large_string()),
        "view": pa.array(["ab"] * often, pa.string_view()),
        "bytes": pa.array([b"ab"] * often),
        "named": named_often("ab", often),
        "decimal": pa.array([Decimal("1.5")] * often),
        "time": pa.array([datetime(2020, 1, 1)] * often),
        "list": pa.array([["a", "b"]] * often),
        "map": pa.array([[("k", "v")]] * often, pa.map_(pa.string(), pa.string())),
        "nested": pa.array([{"x": [{"y": "z"}]}] * often),
        "fixed": pa.array([b"ab"] * often, pa.binary(2)),
        "null": pa.nulls(often),
        "json": pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a": 1}'] * often)),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    monkeypatch.setenv("GRADSHIELD_MAX_GB", "100")
    expected = open_container(tmp_path / "a.parquet").read(tmp_path / "a.parquet")
    measured: list[Path] = []

    def listening(tables: Any, path: Path) -> Any:
        measured.append(path)
        return within_bounds(tables, path)

    monkeypatch.setattr("gradshield.data.containers.parquet.within_bounds", listening)
    monkeypatch.setenv("GRADSHIELD_MAX_GB", "0.004")
    assert open_container(tmp_path / "a.parquet").read(tmp_path / "a.parquet") == expected
    assert measured == [tmp_path / "a.parquet"]


def test_rows_of_nothing_are_counted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"prompt": pa.nulls(300_000, "string")}), path)
    assert path.stat().st_size < 10_000
    monkeypatch.setenv("GRADSHIELD_MAX_GB", "0.01")
    with pytest.raises(DataError, match="unpacks to more than"):
        open_container(path).read(path)


def saved(folder: Path, batch: pa.RecordBatch, compression: str | None = None) -> Path:
    """A saved data set whose only file holds the batch."""
    Dataset.from_dict({"prompt": ["a"], "completion": ["b"]}).save_to_disk(folder)
    options = pa.ipc.IpcWriteOptions(compression=compression)
    file = next(folder.glob("*.arrow"))
    with (
        pa.OSFile(str(file), "wb") as sink,
        pa.ipc.new_stream(sink, batch.schema, options=options) as writer,
    ):
        writer.write_batch(batch)
    return folder


def batch_of(prompts: Any) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [prompts, pa.array(["b"] * len(prompts))], ["prompt", "completion"]
    )


def test_a_compressed_arrow_bomb_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(tmp_path / "data", batch_of(pa.array(["x" * 20_000_000])), "zstd")
    assert sum(file.stat().st_size for file in folder.iterdir()) < 100_000
    monkeypatch.setenv("GRADSHIELD_MAX_GB", "0.01")
    with pytest.raises(DataError, match=r"cannot be loaded|unpacks to more than"):
        open_container(folder).read(folder)


@pytest.mark.parametrize("offsets", [[0, 1, -5, 3, 4], [0, 1, 2**30, 3, 4], [0, 3, 2, 3, 4]])
def test_buffers_that_point_elsewhere_are_not_read(tmp_path: Path, offsets: list[int]) -> None:
    """Arrow takes a file's word for where its texts begin, in any part of the memory."""
    places = pa.py_buffer(np.array(offsets, dtype=np.int32).tobytes())
    prompts = pa.Array.from_buffers(pa.string(), 4, [None, places, pa.py_buffer(b"abcd")])
    folder = saved(tmp_path / "data", batch_of(prompts))
    with pytest.raises(DataError, match="not a readable saved data set: Column 0"):
        open_container(folder).read(folder)


@pytest.mark.parametrize("asked", ["", "0", "-1", "many", "inf", "nan"])
def test_a_limit_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    path = flat(tmp_path / "a.parquet")
    monkeypatch.setenv("GRADSHIELD_MAX_GB", asked)
    with pytest.raises(UserError, match=r"GRADSHIELD_MAX_GB is .*number of gigabytes"):
        open_container(path).read(path)


def test_ordinary_files_are_not_measured_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their worst case, each value as long as its column, is below the limit."""
    path = tmp_path / "a.parquet"
    rows = [{"prompt": f"Question {n}", "completion": json.dumps(n)} for n in range(1000)]
    pq.write_table(pa.Table.from_pylist(rows), path)

    def refuse(*args: object) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr("gradshield.data.containers.parquet.within_bounds", refuse)
    monkeypatch.setenv("GRADSHIELD_MAX_GB", "1")
    assert [row.value for row in open_container(path).read(path)] == rows
