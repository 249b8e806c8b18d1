"""The served page in a real browser: marks are saved, shown again and taken back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gradshield.run.apply import apply
from gradshield.run.folder import RunFolder
from gradshield.run.overrides import in_effect, read_overrides
from gradshield.run.report import write_report
from gradshield.run.review import open_site
from gradshield.run.review_server import ReviewServer
from tests.reporting.browser import OpenPage, needs_chromium, running_browser
from tests.reporting.runs import plain_rows, synthetic_run

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with running_browser() as running:
        yield running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ReviewServer]:
    folder = synthetic_run(tmp_path, plain_rows(12), high=(3,), at=3.0)
    write_report(folder.read_config(), folder)
    server = ReviewServer(open_site(folder, "Ada Lovelace"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def _open_first_row(page: OpenPage) -> None:
    page.page.locator("#body .line").first.click()


def _effective(folder: RunFolder) -> dict[int, tuple[str, str, str]]:
    found = in_effect(read_overrides(folder))
    return {row: (one.action, one.reviewer, one.reason) for row, one in found.items()}


def test_a_mark_is_saved_shown_again_applied_and_taken_back(
    browser: Any, server: ReviewServer
) -> None:
    folder = server.site.folder
    page = OpenPage(browser, server.address)
    _open_first_row(page)
    assert page.page.locator("#reviewer").input_value() == "Ada Lovelace"
    page.page.locator("#note").fill("A list of rivers.")
    page.page.locator("#mark-keep").click()
    page.page.get_by_text("Saved: keep.").wait_for()
    assert _effective(folder) == {3: ("keep", "Ada Lovelace", "A list of rivers.")}
    assert 3 in apply(folder.read_config(), folder).kept

    page.page.reload(wait_until="commit")
    page.page.wait_for_selector('html[data-ready="texts"]')
    _open_first_row(page)
    page.page.get_by_role("button", name="Take mark back").click()
    page.page.get_by_text("No row is marked.").wait_for()
    assert _effective(folder) == {}
    assert len(read_overrides(folder)) == 2
    assert 3 in apply(folder.read_config(), folder).removed

    assert page.said == []
    assert all(address.startswith(server.address.split("?")[0]) for address in page.requests)
    page.close()


def test_what_the_server_refuses_is_shown(browser: Any, server: ReviewServer) -> None:
    page = OpenPage(browser, server.address)
    server.site.folder.claim({"data_sha256": "other"}, {}, force=True)
    _open_first_row(page)
    page.page.locator("#note").fill("Fine.")
    page.page.locator("#mark-keep").click()
    page.page.get_by_text("Not saved: Another run has taken the place of this one").wait_for()
    assert page.page.get_by_text("1 not saved; export them instead.").is_visible()
    page.close()
