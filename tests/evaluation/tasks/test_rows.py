from __future__ import annotations

from pathlib import Path

import pytest

from gradshield.errors import UserError
from gradshield.evaluation.tasks.rows import task_rows
from tests.evaluation.tasks.public_folder import write_json, write_jsonl

ROWS = [{"id": f"r{place}", "instruction": f"Do {place}", "input": ""} for place in range(5)]


def test_rows_come_from_the_public_folder_in_file_order(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "some/test.jsonl", ROWS)
    rows = task_rows(tmp_path, "some/test.jsonl")
    assert [row.id for row in rows] == ["r0", "r1", "r2", "r3", "r4"]
    assert rows[1].instruction() == "Do 1"


def test_only_the_end_of_the_public_file_is_for_testing_but_all_of_a_users(tmp_path: Path) -> None:
    path = write_json(tmp_path / "some/train.json", ROWS)
    assert [row.id for row in task_rows(tmp_path, "some/train.json", last=2)] == ["r3", "r4"]
    assert len(task_rows(path, "some/train.json", last=2)) == 5


def test_rows_without_an_id_go_by_their_position(tmp_path: Path) -> None:
    path = write_json(tmp_path / "train.json", [{"instruction": "a"}, {"instruction": "b"}])
    assert [row.id for row in task_rows(path, "train.json")] == ["0", "1"]
    assert [row.id for row in task_rows(tmp_path, "train.json", last=1)] == ["1"]


def test_instruction_and_input_are_joined_by_a_blank_line(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"instruction": " Do it:\n", "input": " this \n"}])
    assert task_rows(path, "")[0].instruction() == "Do it:\n\nthis"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"test file .*some/test\.jsonl is missing"):
        task_rows(tmp_path, "some/test.jsonl")
    with pytest.raises(UserError, match=r"own\.jsonl is missing"):
        task_rows(tmp_path / "own.jsonl", "some/test.jsonl")


def test_a_row_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"instruction": "x"}\n{"instruction": \n', encoding="utf-8")
    with pytest.raises(UserError, match=r"a\.jsonl, line 2 cannot be read"):
        task_rows(path, "")


@pytest.mark.parametrize("field", [{}, {"instruction": " "}, {"instruction": 3}])
def test_a_missing_or_blank_field_is_named_with_its_row(
    tmp_path: Path, field: dict[str, object]
) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"instruction": "x"}, {"input": "y", **field}])
    with pytest.raises(UserError, match=r"a\.jsonl, line 2 needs text in its field 'instruction'"):
        task_rows(path, "")[1].instruction()


def test_an_input_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"instruction": "x", "input": [1]}])
    with pytest.raises(UserError, match="line 1 needs text in its field 'input'"):
        task_rows(path, "")[0].instruction()


def test_two_rows_of_one_id_are_refused(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"id": "x"}, {"id": "y"}, {"id": "x"}])
    with pytest.raises(UserError, match="two rows with the id x"):
        task_rows(path, "")
