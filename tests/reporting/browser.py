"""A real browser for pages: Debian's chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")


@contextmanager
def running_browser() -> Iterator[Any]:
    """A headless browser without a network of its own."""
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


class OpenPage:
    """A page and everything that its console said.

    Args:
        browser: The running browser.
        address: A file, or an address that starts with http.
        options: Of the browser's context.
    """

    def __init__(self, browser: Any, address: Path | str, **options: Any) -> None:
        options.setdefault("viewport", {"width": 1280, "height": 900})
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        target = f"file://{address}" if isinstance(address, Path) else address
        self.page.goto(target, wait_until="commit")
        self.page.wait_for_selector('html[data-ready="texts"]')

    def rows(self) -> list[int]:
        """Row numbers of the lines that are drawn, from the top."""
        numbers = self.page.locator("#body .line").evaluate_all(
            "lines => lines.map(line => [line.offsetTop, Number(line.dataset.row)])"
        )
        return [row for _, row in sorted(numbers)]

    def cells(self, column: int) -> list[str]:
        """Texts of a column of the lines that are drawn, from the top."""
        return list(
            self.page.evaluate(
                "column => [...document.querySelectorAll('#body .line')]"
                ".sort((a, b) => a.offsetTop - b.offsetTop)"
                ".map(line => line.children[column].textContent)",
                column,
            )
        )

    def settle(self) -> None:
        """Wait until what was typed has been acted upon."""
        self.page.wait_for_timeout(160)

    def status(self) -> str:
        """What the page says of its table."""
        return str(self.page.locator("#status").inner_text())

    def close(self) -> None:
        """Close the page; whatever it was not asked for must not have happened."""
        self.context.close()
