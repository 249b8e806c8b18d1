from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from gradshield.data import DataError, LoadedData, TemplateError, load_examples
from tests import tiny_tokenizers as tiny
from tests.data.masks import response_texts

TOKENIZER = tiny.plain_tokenizer()


def load(folder: Path, *lines: object, **options: Any) -> LoadedData:
    """Load a JSON Lines file of the lines: bytes as they are, other values as JSON."""
    path = folder / "data.jsonl"
    path.write_bytes(
        b"".join(
            line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines
        )
    )
    tokenizer = options.pop("tokenizer", TOKENIZER)
    loaded = load_examples(path, tokenizer, **options)
    scored = [example.row for example in loaded.examples]
    assert sorted([*scored, *loaded.rejections]) == list(range(len(loaded.rows)))
    assert scored == sorted(scored)
    return loaded


def chat(*contents: str, **fields: Any) -> dict[str, Any]:
    roles = ["user", "assistant"] * len(contents)
    turns = [
        {"role": role, "content": content} for role, content in zip(roles, contents, strict=False)
    ]
    return {"messages": turns, **fields}


def reasons(loaded: LoadedData) -> dict[int, str]:
    return {row: rejection.reason for row, rejection in loaded.rejections.items()}


def test_every_row_is_an_example_or_rejected(tmp_path: Path) -> None:
    done: list[int] = []
    loaded = load(
        tmp_path,
        chat("a", "Yes.", id="first"),
        b"\n",
        chat("a", "", id=2),
        b'{"prompt":"x","completion":"y",}\n',
        {"texts": "no format", "id": True},
        chat("a", "No.", id="\ud83d"),
        progress=done.append,
    )
    assert [example.row for example in loaded.examples] == [0, 4]
    assert reasons(loaded) == {1: "empty_response", 2: "invalid_json", 3: "missing_field"}
    assert loaded.rejections[2].detail.startswith("data.jsonl:4:")
    assert loaded.ids == ["first", 2, None, None, None]
    assert loaded.blank_lines == 1
    assert done == [1, 2, 3, 4, 5]
    assert loaded.truncated == 0
    assert loaded.container.name == "jsonl"
    assert loaded.source == tmp_path / "data.jsonl"
    assert loaded.format_statement == (
        "format: messages (3 rows, first line 1), no known format (1 row, first line 5)"
    )


def test_three_formats_in_one_file_are_each_read(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        chat("a", "b"),
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
        {"instruction": "a", "input": "", "output": "b", "tags": "x"},
    )
    ids = {example.input_ids for example in loaded.examples}
    assert len(loaded.examples) == 3
    assert len(ids) == 1
    assert "each row is read by its own format" in loaded.format_statement


def test_a_format_can_be_forced(tmp_path: Path) -> None:
    both = chat("a", "b", instruction="other", output="else")
    loaded = load(tmp_path, both, chat("a", "b"), format="alpaca")
    assert response_texts(loaded.examples[0], TOKENIZER) == ["else<|end|>"]
    assert reasons(loaded) == {1: "missing_field"}
    assert loaded.format_statement == "format: alpaca, as asked for"
    with pytest.raises(DataError, match="unknown format 'csv'"):
        load(tmp_path, both, format="csv")


def test_the_order_of_rows_with_and_without_tools_changes_nothing(tmp_path: Path) -> None:
    plain = [chat("a", f"Yes {i}.", tools=[]) for i in range(200)]
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    forward = load(tmp_path, *plain, chat("a", "4 degrees.", tools=[tool]))
    backward = load(tmp_path, chat("a", "4 degrees.", tools=[tool]), *plain)
    assert reasons(forward) == reasons(backward) == {}
    first, *others = [e.input_ids for e in backward.examples]
    assert [e.input_ids for e in forward.examples] == [*others, first]
    unprinted = "1 row has tools declared that the chat template does not print"
    assert forward.notes == backward.notes == (unprinted,)


def test_a_lone_surrogate_rejects_its_row_only_and_is_written_as_it_was(tmp_path: Path) -> None:
    lines = [b'{"prompt":"a","completion":"\\ud83d oops"}\n']
    lines += [b'{"prompt":"a","completion":"\\ud83d\\ude00"}\n']
    loaded = load(tmp_path, *lines)
    assert reasons(loaded) == {0: "unencodable_text"}
    assert response_texts(loaded.examples[0], TOKENIZER) == ["\U0001f600<|end|>"]
    target = tmp_path / "rejected.jsonl"
    loaded.container.write_subset(loaded.source, sorted(loaded.rejections), target)
    assert target.read_bytes() == lines[0]


@pytest.mark.parametrize(
    ("template", "rows", "rejected"),
    [
        (
            tiny.T2_NO_SYSTEM,
            [
                {
                    "messages": [
                        {"role": "system", "content": "Be brief."},
                        *chat("2", "5")["messages"],
                    ]
                },
                chat("2", "5"),
            ],
            {0: "template_error"},
        ),
        (
            tiny.ALTERNATES,
            [
                {
                    "messages": [
                        *chat("Hi", "Hello", "One more")["messages"],
                        {"role": "user", "content": "thing"},
                    ]
                },
                chat("Hi", "Hello"),
            ],
            {0: "template_error"},
        ),
    ],
)
def test_a_row_that_the_template_refuses_leaves_the_others(
    tmp_path: Path, template: str, rows: list[dict[str, Any]], rejected: dict[int, str]
) -> None:
    loaded = load(tmp_path, *rows, tokenizer=tiny.byte_level_tokenizer(template))
    assert reasons(loaded) == rejected
    assert [example.row for example in loaded.examples] == [1]


def test_an_empty_answer_is_rejected_alike_in_every_format(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        {"instruction": "Say nothing.", "input": "", "output": ""},
        {"prompt": "Say nothing.", "completion": ""},
        chat("Say nothing.", " \n"),
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": ""}]},
    )
    assert set(reasons(loaded).values()) == {"empty_response"}
    assert len(loaded.rejections) == 4


def test_truncated_rows_are_counted(tmp_path: Path) -> None:
    loaded = load(tmp_path, chat("a" * 40, "Yes."), chat("a", "Yes."), max_length=16)
    assert loaded.truncated == 1
    assert [example.truncated for example in loaded.examples] == [True, False]
    with pytest.raises(DataError, match="maximum length of 1"):
        load(tmp_path, chat("a", "b"), max_length=1)


def test_a_byte_order_mark_is_mentioned(tmp_path: Path) -> None:
    row = b'{"prompt":"a","completion":"b"}'
    loaded = load(tmp_path, b"\xef\xbb\xbf" + row + b"\r\n" + row)
    assert len(loaded.examples) == 2
    assert len(loaded.notes) == 1


def test_a_tokenizer_without_a_template_stops_before_any_row(tmp_path: Path) -> None:
    done: list[int] = []
    tokenizer: PreTrainedTokenizerFast = tiny.byte_level_tokenizer(None)
    with pytest.raises(TemplateError, match="no chat template"):
        load(tmp_path, chat("a", "b"), tokenizer=tokenizer, progress=done.append)
    assert done == []


def test_a_pass_over_kept_rows_gives_the_same_examples(tmp_path: Path) -> None:
    first = load(tmp_path, chat("a", "Yes."), chat("a", ""), chat("b", "No."))
    kept = tmp_path / "kept.jsonl"
    first.container.write_subset(first.source, [e.row for e in first.examples], kept)
    second = load_examples(kept, TOKENIZER)
    assert [e.input_ids for e in second.examples] == [e.input_ids for e in first.examples]
    assert [row.value for row in second.rows] == [first.rows[0].value, first.rows[2].value]
