from __future__ import annotations

from typing import Any

import pytest

from gradshield.data import Rejection, SourceRow, detect_format

MESSAGES = {
    "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
}
SHAREGPT = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
ALPACA = {"instruction": "a", "input": "", "output": "b", "tags": "x"}


def rows(*values: dict[str, Any] | None) -> list[SourceRow]:
    return [SourceRow(i, i + 1, value, None) for i, value in enumerate(values)]


def test_a_mixed_file_is_counted_by_format_with_lines() -> None:
    detection = detect_format(rows(MESSAGES, SHAREGPT, ALPACA, ALPACA, {"texts": "x"}, None))
    assert detection.format is not None
    assert detection.format.name == "alpaca"
    assert {name: (c.rows, c.first.line) for name, c in detection.counts.items()} == {
        "messages": (1, 1),
        "sharegpt": (1, 2),
        "alpaca": (2, 3),
    }
    assert detection.statement == (
        "format: messages (1 row, first line 1), sharegpt (1 row, first line 2), "
        "alpaca (2 rows, first line 3), no known format (1 row, first line 5); "
        "each row is read by its own format"
    )
    conversations = [detection.to_conversation(value) for value in (MESSAGES, SHAREGPT, ALPACA)]
    assert conversations[0] == conversations[1] == conversations[2]


def test_a_row_of_two_formats_is_read_as_most_rows_are() -> None:
    both = MESSAGES | {"instruction": "other", "output": "else"}
    mostly_alpaca = detect_format(rows(both, ALPACA, ALPACA))
    assert mostly_alpaca.to_conversation(both).messages[0].content == "other"
    assert detect_format(rows(both)).to_conversation(both).messages[0].content == "a"


def test_fields_that_are_null_do_not_make_a_format() -> None:
    row = {**ALPACA, "messages": None, "conversations": None, "prompt": None}
    assert list(detect_format(rows(row)).counts) == ["alpaca"]


def test_a_row_of_no_format_names_what_it_has_and_what_is_expected() -> None:
    detection = detect_format(rows({"texts": "x"}))
    assert detection.format is None
    with pytest.raises(Rejection) as rejection:
        detection.to_conversation({"question": "x", "answer": "y", "prompt": "z"})
    assert rejection.value.reason == "missing_field"
    for words in ("answer, prompt, question", "'messages'", "'instruction'", "'completion'"):
        assert words in rejection.value.detail


def test_preferences_come_first_whatever_else_the_row_has() -> None:
    both = {**MESSAGES, **ALPACA, "prompt": "a", "chosen": "b", "rejected": "c"}
    assert list(detect_format(rows(both)).counts) == ["preference"]


def test_rows_without_lines_are_named_by_position() -> None:
    statement = detect_format([SourceRow(0, None, ALPACA)]).statement
    assert statement == "format: alpaca (1 row, first row 0)"
    assert detect_format(rows(None)).statement == "format: no row could be parsed"
