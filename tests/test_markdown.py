"""Others' text in Markdown is text, whatever it holds; read by an independent parser."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from gradshield.markdown import code, plain
from gradshield.printable import one_line

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![beacon](http://example.invalid/a.png)",
    "[click](javascript:alert(1)) <http://example.invalid>",
    "`code` ``two`` &lt;b&gt; \\",
    "a|b\n\n# heading\n- list",
    "\x1b[31mred",
    "`",
    "",
]


def tokens(text: str) -> list[Token]:
    """All inline tokens of a paragraph that holds the text between two words."""
    parsed = MarkdownIt("commonmark").parse(f"x {text} y")
    assert [token.type for token in parsed] == ["paragraph_open", "inline", "paragraph_close"]
    return parsed[1].children or []


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_as_it_is(text: str) -> None:
    found = tokens(plain(text))
    assert {token.type for token in found} <= {"text", "text_special"}
    assert "".join(token.content for token in found).split() == f"x {one_line(text)} y".split()


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_in_its_code_span(text: str) -> None:
    spans = [token for token in tokens(code(text)) if token.type != "text"]
    assert [token.type for token in spans] == ["code_inline"]
    assert spans[0].content.strip() == one_line(text).strip()


@given(st.text())
def test_any_text_opens_no_markup_that_leads_elsewhere(text: str) -> None:
    for found in (tokens(plain(text)), tokens(code(text))):
        kinds = {token.type for token in found}
        assert not kinds & {"html_inline", "link_open", "image"}
    assert [t.type for t in tokens(code(text)) if t.type != "text"] == ["code_inline"]
