"""Rows of each format through every container and back; and containers of any bytes."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gradshield.data import DataError, SourceRow, detect_format, open_container
from tests.data.formats.conversations import (
    Row,
    alpaca_row,
    exchanges,
    messages_row,
    preference_row,
    prompt_completion_row,
    sharegpt_row,
    systems,
    text_row,
    texts,
)

Writer = Callable[[Path, list[Row]], None]
COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda content: gzip.compress(content, mtime=0),
    ".zst": lambda content: bytes(pa.compress(content, codec="zstd", asbytes=True)),
}


def json_lines(path: Path, rows: list[Row]) -> None:
    path.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in rows))


def json_array(path: Path, rows: list[Row]) -> None:
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def cells(path: Path, rows: list[Row]) -> None:
    delimiter = "\t" if ".tsv" in path.name else ","
    with path.open("w", encoding="utf-8", newline="") as file:
        # Some versions of the writer quote a line break only if it is in the line ending.
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter, quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)


def parquet(path: Path, rows: list[Row]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)


def arrow_stream(path: Path, rows: list[Row]) -> None:
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


def arrow_file(path: Path, rows: list[Row]) -> None:
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


def saved(path: Path, rows: list[Row]) -> None:
    Dataset.from_list(rows).save_to_disk(path)


def compressed(write: Writer) -> Writer:
    def write_compressed(path: Path, rows: list[Row]) -> None:
        write(path, rows)
        path.write_bytes(COMPRESSED[path.suffix](path.read_bytes()))

    return write_compressed


LINES: dict[str, Writer] = {
    "data.jsonl": json_lines,
    "data.ndjson": json_lines,
    "data.json": json_lines,
    "data.csv": cells,
    "data.tsv": cells,
}
WRITERS: dict[str, Writer] = {
    **LINES,
    **{name + end: compressed(write) for name, write in LINES.items() for end in COMPRESSED},
    "array.json": json_array,
    "data.parquet": parquet,
    "stream.arrow": arrow_stream,
    "file.arrow": arrow_file,
    "folder": saved,
}
pairs = st.tuples(texts, texts)
FLAT = {
    "prompt_completion": st.builds(prompt_completion_row, pairs),
    "text": st.builds(text_row, pairs),
    "preference": st.builds(preference_row, pairs),
}
NESTED = {
    "messages": st.builds(messages_row, exchanges, systems),
    "sharegpt": st.builds(sharegpt_row, exchanges, texts),
    "alpaca": st.builds(alpaca_row, exchanges, texts),
}


@pytest.mark.parametrize("name", WRITERS)
@given(data=st.data())
@settings(max_examples=8)
def test_rows_come_back_from_any_container_in_any_share(name: str, data: st.DataObject) -> None:
    formats = FLAT if WRITERS[name] is cells or ".csv" in name or ".tsv" in name else NESTED | FLAT
    kind = data.draw(st.sampled_from(sorted(formats)))
    rows = data.draw(st.lists(formats[kind], min_size=1, max_size=5))
    fates = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / name
        WRITERS[name](path, rows)
        container = open_container(path)
        read = container.read(path)
        assert [(row.position, row.value, row.error) for row in read] == [
            (place, row, None) for place, row in enumerate(rows)
        ]
        assert container.facts(path).rows == len(rows)
        detection, expected = (
            detect_format(found) for found in (read, [SourceRow(0, 1, row) for row in rows])
        )
        assert list(detection.counts) == list(expected.counts) == [kind]
        for fate in (True, False):
            chosen = [place for place, own in enumerate(fates) if own == fate]
            target = Path(scratch) / f"{fate}{container.suffix}"
            container.write_subset(path, chosen, target)
            found = [row.value for row in container.read(target)] if chosen else []
            assert found == [rows[place] for place in chosen]
        whole = Path(scratch) / f"whole{container.suffix}"
        container.write_subset(path, range(len(rows)), whole)
        again = Path(scratch) / f"again{container.suffix}"
        container.write_subset(whole, range(len(rows)), again)
        if path.is_file():
            assert again.read_bytes() == whole.read_bytes()


def is_read_or_refused(path: Path) -> None:
    """Every row has a value or an error, and can be written; or one line says what is wrong."""
    refusals: list[DataError] = []
    try:
        container = open_container(path)
        rows = container.read(path)
        assert all((row.value is None) != (row.error is None) for row in rows)
        for row in rows:
            container.write_subset(path, [row.position], path.with_name(f"one{container.suffix}"))
    except DataError as fault:
        refusals.append(fault)
    assert all(len(str(fault).splitlines()) == 1 for fault in refusals)


@pytest.mark.parametrize("end", COMPRESSED)
@pytest.mark.parametrize("name", ["data.jsonl", "data.json", "data.csv", "data.tsv", "data.txt"])
@given(content=st.binary(max_size=60))
@settings(max_examples=25)
def test_any_bytes_within_a_compressed_file(name: str, end: str, content: bytes) -> None:
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / (name + end)
        path.write_bytes(COMPRESSED[end](content))
        is_read_or_refused(path)


@pytest.mark.parametrize("name", ["stream.arrow", "file.arrow", "data.jsonl.gz", "data.jsonl.zst"])
@given(place=st.floats(0, 1, exclude_max=True), piece=st.binary(max_size=6), cut=st.integers(0, 6))
@settings(max_examples=60)
def test_a_file_with_a_damaged_stretch(name: str, place: float, piece: bytes, cut: int) -> None:
    rows = [prompt_completion_row((f"Name river {number}", "Loire")) for number in range(4)]
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / name
        WRITERS[name](path, rows)
        content = path.read_bytes()
        start = int(place * len(content))
        path.write_bytes(content[:start] + piece + content[start + cut :])
        is_read_or_refused(path)


@pytest.mark.parametrize("file", ["state.json", "dataset_info.json"])
@given(
    content=st.binary(max_size=20)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(["_data_files", "filename", "features", "_type", "dtype", "a"]),
                inner,
            )
        ),
        max_leaves=5,
    ).map(lambda value: json.dumps(value).encode())
)
@example(content=b'{"features":{}}')
@settings(max_examples=25)
def test_a_saved_data_set_with_any_description(file: str, content: Any) -> None:
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "folder"
        saved(path, [prompt_completion_row(("a", "b"))])
        (path / file).write_bytes(content)
        is_read_or_refused(path)
