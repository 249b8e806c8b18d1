"""Whatever text is printed, the terminal is not steered by it."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

import gradshield.cli
from gradshield.cli.display import Display
from gradshield.cli.terminal import SafeConsole, print_json

HOSTILE = "\x1b]0;title\x07\x1b[2J\x9b31m\u202e\x00\r\x08[link=http://x]a[/link] :boom:"
OWN_COLOURS = re.compile("\x1b\\[[0-9;]*m")


def steering(text: str) -> list[str]:
    """Characters of a text, the console's own colours left out, that are not just shown."""
    return [c for c in OWN_COLOURS.sub("", text) if not c.isprintable() and c != "\n"]


@pytest.mark.parametrize("colour", [False, True])
def test_text_in_every_form_is_only_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, colour: bool
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    if colour:
        monkeypatch.setenv("FORCE_COLOR", "1")
    console = SafeConsole(style="bold red")
    table = Table(title=HOSTILE)
    table.add_column(HOSTILE)
    table.add_row(HOSTILE)
    for form in (HOSTILE, Text(HOSTILE, style="green"), table):
        console.print(form)
    console.print(HOSTILE, soft_wrap=True)
    printed = capsys.readouterr().out
    assert steering(printed) == []
    assert printed.count("[link=http://x]a[/link]") == 6
    assert ("\x1b[" in printed) is colour


def test_lines_and_warnings_too(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display()
    display.say(HOSTILE)
    display.warn(HOSTILE)
    with display.track(HOSTILE, 1, HOSTILE) as advance:
        advance(1)
    assert steering(capsys.readouterr().err) == []


@given(st.text())
def test_any_text(text: str) -> None:
    console = SafeConsole()
    with console.capture() as captured:
        console.print(text, soft_wrap=True)
        console.print(Text(text))
    assert steering(captured.get()) == []


def test_json_holds_no_escape_and_comes_back(capsys: pytest.CaptureFixture[str]) -> None:
    content = {"file": "half \udcff of ü\x9b31m\x1b[2J\u202e"}
    print_json(content)
    printed = capsys.readouterr().out
    assert steering(printed) == []
    assert json.loads(printed) == content


def test_commands_have_no_other_way_to_print() -> None:
    """A plain console, or a bare print, would pass escape sequences on."""
    for path in Path(gradshield.cli.__path__[0]).glob("*.py"):
        if path.name == "terminal.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("Console", "print"), f"{path.name}:{node.lineno}"
