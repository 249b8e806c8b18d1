from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradshield.data import DataError, open_container
from gradshield.data.containers.json_array import JsonArrayContainer

ARRAY = JsonArrayContainer()

PRETTY = """[
  {"a": 1.0,  "b": "x\\u00e9"},
  {"a": 2},

  {"c": {"d": []}}
]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "data.json"
    path.write_bytes(text.encode())
    return path


def subset(path: Path, positions: list[int]) -> str:
    target = path.with_name("subset.json")
    ARRAY.write_subset(path, positions, target)
    return target.read_bytes().decode()


def test_rows_have_the_lines_on_which_they_start(tmp_path: Path) -> None:
    path = write(tmp_path, PRETTY)
    assert open_container(path) == ARRAY
    rows = ARRAY.read(path)
    assert [(row.line, row.value) for row in rows] == [
        (2, {"a": 1.0, "b": "xé"}),
        (3, {"a": 2}),
        (5, {"c": {"d": []}}),
    ]


def test_elements_are_copied_with_their_own_spelling(tmp_path: Path) -> None:
    path = write(tmp_path, PRETTY)
    assert subset(path, [0, 1, 2]) == PRETTY
    assert subset(path, [0, 2]) == '[\n  {"a": 1.0,  "b": "x\\u00e9"},\n\n  {"c": {"d": []}}\n]\n'
    assert subset(path, [2, 0]) == '[\n  {"c": {"d": []}},\n  {"a": 1.0,  "b": "x\\u00e9"}\n]\n'
    assert subset(path, []) == "[]\n"


def test_an_element_that_is_no_object_is_an_error_of_its_row(tmp_path: Path) -> None:
    path = write(tmp_path, '[{"a": 1},\n  "text", {"a": 3}]')
    rows = ARRAY.read(path)
    assert [row.error for row in rows] == [
        None,
        "data.json:2:3: a row must be a JSON object, this one is a JSON string",
        None,
    ]


def test_a_byte_order_mark_is_noted_and_kept(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeff" + PRETTY)
    assert open_container(path) == ARRAY
    assert len(ARRAY.facts(path).notes) == 1
    assert subset(path, [0, 1, 2]) == "\ufeff" + PRETTY


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('[{"a": 1},\n {"a": 2},\n]', ":3:1:"),
        ('[{"a": 1}\n {"a": 2}]', ":2:2:"),
        ('[{"a": 1}] x', ":1:12:"),
        ('[{"a": 1}, {"a"', ":1:16:"),
        ("[" * 100_000, ":1:2:"),
    ],
)
def test_a_broken_array_is_refused_with_line_and_column(
    tmp_path: Path, text: str, place: str
) -> None:
    with pytest.raises(DataError) as refusal:
        ARRAY.read(write(tmp_path, text))
    assert f"data.json{place} invalid JSON" in str(refusal.value)


values = st.dictionaries(st.text(max_size=3), st.none() | st.floats(allow_nan=False) | st.text())


@given(rows=st.lists(values, min_size=1, max_size=5), indent=st.none() | st.just(1), data=st.data())
def test_a_subset_is_a_valid_array_of_the_same_values(
    rows: list[dict[str, object]], indent: int | None, data: st.DataObject
) -> None:
    with TemporaryDirectory() as folder:
        path = write(Path(folder), json.dumps(rows, indent=indent))
        positions = data.draw(st.lists(st.sampled_from(range(len(rows))), unique=True))
        assert json.loads(subset(path, positions)) == [rows[position] for position in positions]
