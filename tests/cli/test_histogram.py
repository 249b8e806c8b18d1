from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from gradshield.cli.histogram import WIDTH, histogram

SCORES = st.lists(st.floats(-50, 50), min_size=1, max_size=60)


def _bars(lines: list[Text]) -> list[tuple[str, int]]:
    """Colour and count of each bar."""
    return [
        (str(line.spans[0].style) if line.spans else "", int(line.plain.split()[-1]))
        for line in lines
        if "threshold" not in line.plain
    ]


def test_by_hand() -> None:
    lines = histogram([0.0, 0.0, 0.0, 0.5, 1.0], 0.9)
    assert [line.plain for line in lines if line.plain[-1] != "0"] == [
        f"  -0.0167 {'█' * WIDTH} 3",
        f"  +0.4833 {'█' * math.ceil(WIDTH / 3)} 1",
        "  +0.9000 ┄┄ threshold ┄┄",
        f"  +0.9833 {'█' * math.ceil(WIDTH / 3)} 1",
    ]


@given(scores=SCORES, threshold=st.floats(-60, 60) | st.just(math.inf))
def test_every_score_is_in_a_bar_of_its_side(scores: list[float], threshold: float) -> None:
    lines = histogram(scores, threshold)
    bars = _bars(lines)
    assert sum(count for _, count in bars) == len(scores)
    removed = sum(score >= threshold for score in scores)
    assert sum(count for style, count in bars if style == "red") == removed
    assert all(len(line.plain) < WIDTH + 30 for line in lines)
    assert len(lines) < 25
