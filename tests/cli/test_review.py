"""`gradshield review`: what the command says and how it ends; the server has tests of its own."""

from __future__ import annotations

import json
import webbrowser
from pathlib import Path

import pytest

from gradshield.cli import apply
from gradshield.reporting.page import REVIEW_MARKER as MARKER
from gradshield.run.folder import RunFolder
from gradshield.run.review_server import ReviewServer
from tests.cli.command_line import gradshield
from tests.run.run_folders import made_run, mark


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    folder = made_run(tmp_path)
    (folder.path / "report.html").write_text(f"<html><head>{MARKER}</head></html>")

    def marks_made_then_interrupted(server: ReviewServer) -> None:
        server.site.save(json.dumps(mark(folder, 4, "keep", reviewer="")).encode())
        raise KeyboardInterrupt

    monkeypatch.setattr(ReviewServer, "serve_forever", marks_made_then_interrupted)
    return folder


def test_it_tells_the_address_and_what_was_saved(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    outcome = gradshield("review", folder.path, "--reviewer", "Ada")
    assert outcome.code == 0, outcome.err
    assert opened == [outcome.out.splitlines()[0].removeprefix("Review at ")]
    assert opened[0].startswith("http://127.0.0.1:")
    assert f"Marks saved: 1. Next: gradshield apply {folder.path}" in outcome.out
    assert json.loads(folder.overrides.read_text())["reviewer"] == "Ada"


def test_no_browser(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda address: pytest.fail(address))
    assert gradshield("review", folder.path, "--no-browser").code == 0


def test_without_a_report(folder: RunFolder) -> None:
    (folder.path / "report.html").unlink()
    outcome = gradshield("review", folder.path, "--no-browser")
    assert outcome.code == 1
    assert "gradshield report" in outcome.err


def test_marks_that_were_saved_are_applied(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apply, "write_report", lambda *anything: None)
    assert gradshield("review", folder.path, "--no-browser").code == 0
    outcome = gradshield("apply", folder.path, "--json")
    assert json.loads(outcome.out)["overrides"]["overruled"][0]["row"] == 4
