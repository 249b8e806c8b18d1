"""The console that all commands write to."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from gradshield.printable import printable_lines


class SafeConsole(Console):
    """A console whose texts cannot steer the terminal, wherever they come from.

    Row texts, ids, names of fields, files and models, and what a run folder says are others'
    words: escape sequences and other control characters in them are replaced, and brackets are no
    markup. What the console itself sends to the terminal (colours, bars) is left alone.
    """

    def __init__(self, *, stderr: bool = False, style: str | None = None) -> None:
        super().__init__(stderr=stderr, style=style, highlight=False, markup=False, emoji=False)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """See `Console.render`, which all that is printed comes through."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(printable_lines(segment.text), segment.style)


def print_json(content: Any) -> None:
    """Print JSON on standard output, in ASCII: no escape sequence, no text that cannot be put out.

    Half of a surrogate pair, as names of files can hold, and control characters beyond ASCII have
    no place in a UTF-8 stream, or one that steers the terminal; as JSON escapes they are safe.
    """
    print(json.dumps(content))
