from __future__ import annotations

from gradshield.data import omission_notes


def test_nothing_left_out_is_nothing_said() -> None:
    assert omission_notes([(), ()]) == ()


def test_parts_are_counted_by_type_and_all_else_by_row() -> None:
    left_out = [
        ("image part", "image part", "audio part"),
        ("image part", "reasoning that is not printed"),
        ("reasoning that is not printed", "reasoning that is not printed"),
        ("tools that are not printed",),
        (),
    ]
    assert omission_notes(left_out) == (
        "2 rows have parts that are no text (1 audio, 3 image): only the text beside them is "
        "scored",
        "2 rows have reasoning that is not printed",
        "1 row has tools that are not printed",
    )
