"""Text of others' making in Markdown, where it must not become links, images or HTML."""

from __future__ import annotations

import re

from gradshield.printable import one_line

_MARKUP = re.compile(r"[\\`\[\]<>&|]")


def plain(text: str) -> str:
    """Text on one line that shows as it is: what would open markup is escaped."""
    return _MARKUP.sub(r"\\\g<0>", one_line(text))


def code(text: str) -> str:
    """Text as a code span on one line, whatever backticks it holds."""
    line = one_line(text)
    fence = "`"
    while fence in line:
        fence += "`"
    # A span loses one space on each side, and needs one beside a backtick.
    space = " " if line.startswith("`") or line.endswith("`") or not line else ""
    return f"{fence}{space}{line}{space}{fence}"
