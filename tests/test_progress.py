from __future__ import annotations

import pytest

from gradshield.progress import Silent


def test_silence_hides_lines_but_not_warnings() -> None:
    silent = Silent()
    silent.say("loading")
    with pytest.warns(UserWarning, match="hardly aligned"):
        silent.warn("hardly aligned")
    with silent.track("Scoring", 3, "rows") as advance:
        advance(3)
