from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gradshield.printable import one_line, printable


def test_what_steers_a_terminal_is_replaced() -> None:
    assert printable("a\x1b[2J\r\u202eb\x9b") == "a\ufffd[2J\ufffd\ufffdb\ufffd"


def test_lines_are_joined_and_cut() -> None:
    assert one_line(" a\n\tb  c ") == "a b c"
    assert one_line("x" * 11, 10) == "x" * 10 + "…"
    assert one_line("x" * 10, 10) == "x" * 10


@given(st.text())
def test_any_text_is_one_printable_line(text: str) -> None:
    assert printable(text).isprintable()
    assert one_line(text).isprintable()
    assert len(one_line(text)) <= 301
