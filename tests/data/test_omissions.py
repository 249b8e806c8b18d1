from __future__ import annotations

from gradshield.data import TokenizedExample, omission_notes


def example(row: int, *left_out: str) -> TokenizedExample:
    return TokenizedExample(row, (1, 2), (False, True), False, left_out)


def test_nothing_left_out_is_nothing_said() -> None:
    assert omission_notes([example(0), example(1)]) == ()


def test_parts_are_counted_by_type_and_all_else_by_row() -> None:
    examples = [
        example(0, "image part", "image part", "audio part"),
        example(1, "image part", "reasoning that is not printed"),
        example(2, "reasoning that is not printed", "reasoning that is not printed"),
        example(3, "tools that are not printed"),
        example(4),
    ]
    assert omission_notes(examples) == (
        "2 rows have parts that are no text (1 audio, 3 image): only the text beside them is "
        "scored",
        "2 rows have reasoning that is not printed",
        "1 row has tools that are not printed",
    )
