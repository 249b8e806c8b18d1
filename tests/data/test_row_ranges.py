"""Ranges of rows: together they are what the container reads whole."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradshield.data import Rejection, load_examples, open_container
from gradshield.data.row_ranges import all_rows, row_ranges
from gradshield.data.survey import InMemory, survey_rows
from tests.run.data_files import good_rows, mixed_jsonl, write_jsonl
from tests.tiny_models import chat_tokenizer

LINES = st.sampled_from(
    [
        b"\n",
        b" \t\r\n",
        b'{"a": 1}\n',
        b'{"b": "\xe2\x80\xa8 \x0c"}\r\n',
        b'{"broken\n',
        b"[]\n",
        b"\xff\n",
        b"17\n",
    ]
)


@given(
    lines=st.lists(LINES, max_size=40),
    mark=st.booleans(),
    ended=st.booleans(),
    stride=st.integers(1, 7),
    strides=st.integers(1, 3),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_ranges_of_lines_are_the_rows_of_the_file(
    tmp_path: Path, lines: list[bytes], mark: bool, ended: bool, stride: int, strides: int
) -> None:
    path = tmp_path / "data.jsonl"
    content = b"".join([*lines, b'{"last": "row"}', b"\n" * ended])
    path.write_bytes(b"\xef\xbb\xbf" * mark + content)
    whole = open_container(path).read(path)
    ranges = row_ranges(path, stride)
    assert ranges.total == len(whole)
    assert [row for some in all_rows(ranges, stride * strides) for row in some] == whole
    for start in range(0, len(whole), stride):
        rows = range(start, min(start + stride * strides, len(whole)))
        sent = pickle.loads(pickle.dumps(ranges.part(rows)))
        assert sent.read(rows) == whole[rows.start : rows.stop]


def test_ranges_of_parquet_are_read_across_row_groups(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"x": list(range(25))}), path, row_group_size=7)
    whole = open_container(path).read(path)
    ranges = row_ranges(path, 10)
    assert ranges.total == 25
    assert [row for some in all_rows(ranges, 10) for row in some] == whole
    assert ranges.part(range(10, 20)).read(range(10, 20)) == whole[10:20]


def test_ranges_of_other_files(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(json.dumps(good_rows(9)), encoding="utf-8")
    whole = open_container(path).read(path)
    assert [row for some in all_rows(row_ranges(path, 4), 4) for row in some] == whole


@pytest.mark.parametrize("format", ["auto", "alpaca"])
def test_parts_are_read_as_in_the_whole_file(tmp_path: Path, format: str) -> None:
    path = mixed_jsonl(tmp_path / "mixed.jsonl")
    options = {"format": format, "response": "all", "max_length": 64}
    data = load_examples(path, chat_tokenizer(), **options)
    survey = survey_rows(path, chat_tokenizer(), **options, stride=3)
    assert survey.statement == data.format_statement
    memory = InMemory(data)
    assert survey.total == memory.total == 28
    for start in range(0, 28, 6):
        rows = range(start, min(start + 6, 28))
        part = pickle.loads(pickle.dumps(survey.part(rows))).read(rows, chat_tokenizer())
        whole = memory.read(rows, chat_tokenizer())
        assert part.examples == whole.examples
        assert _texts(part.rejections) == _texts(whole.rejections)
        assert (part.ids, part.lines) == (whole.ids, whole.lines)
        assert {e.row for e in part.examples} | set(part.rejections) == set(rows)


def _texts(rejections: dict[int, Rejection]) -> dict[int, str]:
    return {row: str(rejection) for row, rejection in rejections.items()}


def test_an_ambiguous_row_is_read_by_the_format_of_the_whole_file(tmp_path: Path) -> None:
    """Alone it would be read as the format that comes first in the registry."""
    alpaca = {"instruction": "Name a river.", "output": "The Loire."}
    both = {**alpaca, "prompt": "Hi", "completion": "Hello"}
    path = write_jsonl(tmp_path / "data.jsonl", [both, *[alpaca] * 5])
    options = {"format": "auto", "response": "all", "max_length": 64}
    survey = survey_rows(path, chat_tokenizer(), **options, stride=1)
    data = load_examples(path, chat_tokenizer(), **options)
    alone = write_jsonl(tmp_path / "alone.jsonl", [both])
    assert load_examples(alone, chat_tokenizer(), **options).examples != data.examples[:1]
    rows = range(0, 1)
    assert survey.part(rows).read(rows, chat_tokenizer()).examples == tuple(data.examples[:1])
