"""What goes to standard error, and that quiet hides no warning."""

from __future__ import annotations

import pytest

from gradshield.cli.display import Display


def test_lines_and_work_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display()
    display.say("[bold]not markup[/bold]")
    with display.track("Scoring rows", 12, "rows") as advance:
        advance(12)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "[bold]not markup[/bold]\nScoring rows: 12 rows …\n"


def test_quiet_shows_warnings_only(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(quiet=True)
    display.say("a line")
    with display.track("Scoring rows", 12, "rows") as advance:
        advance(12)
    display.warn("hardly aligned")
    assert capsys.readouterr().err == "Warning: hardly aligned\n"


def test_terminal_gets_a_bar_with_rate_and_unit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with Display().track("Scoring rows", 12, "rows") as advance:
        advance(6)
        advance(6)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "12/12" in captured.err
    assert "rows/s" in captured.err


def test_bars_inside_bars(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    display = Display()
    with display.track("Filters", 2, "filters") as outer:
        for _ in range(2):
            with display.track("Scoring rows", 3, "rows") as inner:
                inner(3)
            outer(1)
    assert "2/2" in capsys.readouterr().err
