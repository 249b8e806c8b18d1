"""The page in a real browser: what a reviewer does with it, and what a hostile row cannot do."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradshield.data import open_source
from gradshield.reporting import details, selection
from gradshield.run.fingerprints import fingerprints_of, run_fingerprint
from gradshield.run.folder import RunFolder
from gradshield.run.overrides import read_overrides
from gradshield.run.report import write_report
from gradshield.run.review import open_site
from gradshield.run.review_server import ReviewServer
from tests.cli.command_line import gradshield
from tests.reporting.browser import OpenPage, needs_chromium, running_browser
from tests.reporting.runs import END, chat, plain_rows, synthetic_run
from tests.run.score_lines import score_lines

pytestmark = needs_chromium

HIGH = (3, 11, 25)
MINUS = "\N{MINUS SIGN}"
SCRIPT = "<script>document.title='broken'</script>"
HANDLER = '"><img src=x onerror="document.title=\'broken\'"><svg onload=alert(1)>'
BRACES = "{{ 7 * 7 }} {% raw %} ${7*7} <%= 7 %>"
TURNED = "safe \u202egnp.exe\u202c \u2066hidden\u2069 \u200bzero \U000e0041tag"
CLOSING = "</script></style></title><!-- ]]> --> \u2028\u2029 &lt;b&gt;"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with running_browser() as running:
        yield running


def _reported(folder: RunFolder) -> Path:
    return write_report(folder.read_config(), folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    rows = plain_rows(60, words=20)
    rows[11]["messages"][1]["content"] = "Hello \U0001f600 Loire, the river 42 EUR."
    rows[40] = dict(rows[25])
    folder = synthetic_run(tmp_path_factory.mktemp("small"), rows, high=HIGH, rejected=[7], at=3.0)
    _reported(folder)
    return folder


@pytest.fixture
def small(browser: Any, run: RunFolder) -> Iterator[OpenPage]:
    page = OpenPage(browser, run.page, accept_downloads=True)
    yield page
    assert page.said == []
    page.close()


def test_it_opens_with_the_highest_scores_first(small: OpenPage, run: RunFolder) -> None:
    scored = [line for line in score_lines(run) if line["status"] == "scored"]
    in_order = [line["row"] for line in sorted(scored, key=lambda line: -line["fihs"])]
    assert small.rows()[:20] == in_order[:20]
    assert small.status() == "60 of 60 rows"
    assert small.page.locator("h1").inner_text().startswith("Of 60 rows of train.jsonl, 3 (5.0 %)")
    assert small.requests == [f"file://{run.page}"]


def test_every_column_sorts_both_ways(small: OpenPage) -> None:
    heading = small.page.get_by_role("button", name="row", exact=True)
    heading.click()
    assert small.rows()[:3] == [0, 1, 2]
    heading.click()
    assert small.rows()[:3] == [59, 58, 57]
    small.page.get_by_role("button", name="tokens").click()
    tokens = [int(text) for text in small.cells(5) if text.isdigit()]
    assert tokens == sorted(tokens, reverse=True)
    assert small.page.locator('[aria-sort="descending"]').inner_text().strip().startswith("tokens")


def test_search_finds_text_id_and_row_number(small: OpenPage) -> None:
    query = small.page.locator("#query")
    for wanted, rows in (("PLACE 3.", [3]), ("own-33", [33]), ("17", [17]), ("no such", [])):
        query.fill(wanted)
        small.settle()
        assert set(rows) <= set(small.rows())
        assert small.status() == f"{len(small.rows())} of 60 rows"
        assert len(small.rows()) <= len(rows) + 1  # a number stands in texts too
    assert small.page.locator(".empty").inner_text() == "No row matches."


def test_filters_narrow_and_clear(small: OpenPage) -> None:
    page = small.page
    page.select_option("#outcome", "r")
    small.settle()
    assert set(small.rows()) == set(HIGH)
    page.select_option("#outcome", "x")
    small.settle()
    assert small.rows() == [7]
    page.get_by_role("button", name="Clear").click()
    page.select_option("#finding", label="borderline")
    small.settle()
    assert len(small.rows()) == 10
    page.get_by_role("button", name="Clear").click()
    page.fill("#low", "-0.5")
    page.fill("#high", "0.5")
    small.settle()
    scores = [float(text.replace(MINUS, "-")) for text in small.cells(1)]
    assert scores
    assert all(-0.5 <= score <= 0.5 for score in scores)
    page.get_by_role("button", name="Clear").click()
    page.select_option("#source", label="beta")
    small.settle()
    assert small.status() == "20 of 60 rows"


def test_texts_are_not_in_the_page_until_asked_for(small: OpenPage) -> None:
    page = small.page
    assert "Name place" not in page.content()
    page.locator("#body .line").first.click()
    assert "Name place" not in page.content()
    assert page.locator("#panel .veiled").count() >= 2
    page.get_by_role("button", name="Show this text").click()
    first = small.rows()[0]
    assert page.locator("#panel .turn .text").first.inner_text() == f"Name place {first}."
    assert page.locator("#body .line:not(.selected) .veiled").count() > 5
    page.keyboard.press("t")
    assert page.locator(".veiled").count() == 0
    page.keyboard.press("t")
    assert page.locator("#panel .veiled").count() >= 2


@pytest.mark.parametrize("row", [3, 11])
def test_tokens_are_shaded_by_what_they_add(small: OpenPage, run: RunFolder, row: int) -> None:
    page = small.page
    page.check("#reveal")
    page.fill("#query", f"place {row}.")
    small.settle()
    page.locator(f"#row-{row}").click()
    spans = page.locator("#panel .turn.loss [data-token]").evaluate_all(
        "spans => spans.map(span => [span.textContent, span.title, span.className])"
    )
    line = next(line for line in score_lines(run) if line["row"] == row)
    assert len(spans) == line["response_tokens"]
    data = json.loads((run.path.parent / "train.jsonl").read_text().splitlines()[row])
    answer = data["messages"][-1]["content"] + END
    assert "".join(text for text, _, _ in spans) == answer
    largest = max(map(abs, line["token_fihs"]))
    for (_, title, name), value in zip(spans, line["token_fihs"], strict=True):
        told = float(title.removesuffix(" FIHS").replace(MINUS, "-"))
        assert told == pytest.approx(value, abs=largest / 63 + 1e-5)
        if "h" in name:
            assert value > 0
        if name.startswith("s"):
            assert value < 0
    strongest = int(np.argmax(line["token_fihs"]))
    assert "h6" in spans[strongest][2]
    if line["response_tokens"] > 24:
        assert sum("window" in name for _, _, name in spans) == 24


def test_the_panel_gives_the_evidence(small: OpenPage, run: RunFolder) -> None:
    page = small.page
    page.locator("#row-25").click()
    text = page.locator("#panel").inner_text()
    assert "rank\n" in text
    assert "Nearest kept by score" in text
    assert "Nearest removed by score" in text
    assert "1 other rows with nearly this response: 40" in text.replace("\u00a0", " ")
    page.locator("#panel").get_by_role("button", name="40 (").first.click()
    assert page.locator("#panel-title").inner_text() == "Row 40"
    page.locator("#panel").get_by_role("button", name="list them").click()
    assert set(small.rows()) == {25, 40}
    page.get_by_role("button", name="Clear").click()
    small.settle()
    assert small.status() == "60 of 60 rows"


def test_the_keyboard_is_enough(small: OpenPage) -> None:
    page = small.page
    order = small.rows()
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "query"
    page.focus("#grid")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    active = page.locator("#grid").get_attribute("aria-activedescendant")
    assert active == f"row-{order[2]}"
    page.keyboard.press("Enter")
    page.wait_for_selector("#panel-title")
    assert page.locator("#panel-title").inner_text() == f"Row {order[2]}"
    assert page.evaluate("document.activeElement.id") == "panel-title"
    page.keyboard.press("Escape")
    assert page.locator("#panel").is_hidden()
    assert page.evaluate("document.activeElement.id") == "grid"
    page.keyboard.press("End")
    assert page.locator("#body .selected").get_attribute("data-row") == "7"  # without a score


def test_dark_and_light(browser: Any, run: RunFolder) -> None:
    page = OpenPage(browser, run.page, color_scheme="dark")
    colour = "getComputedStyle(document.body).backgroundColor"
    dark = page.page.evaluate(colour)
    assert dark == "rgb(20, 23, 26)"
    button = page.page.locator("#theme")
    button.click()
    assert button.inner_text() == "Theme: light"
    assert page.page.evaluate(colour) == "rgb(247, 246, 243)"
    button.click()
    button.click()
    assert button.inner_text() == "Theme: system"
    assert page.page.evaluate(colour) == dark
    bar = page.page.locator(".chart svg path[fill='var(--kept)']").first
    assert bar.evaluate("mark => getComputedStyle(mark).fill") == "rgb(99, 185, 162)"
    page.close()


def test_marks_are_exported(small: OpenPage, run: RunFolder) -> None:
    page = small.page
    page.locator("#row-25").click()
    page.get_by_role("button", name="Keep this row").click()
    assert "needs your name" in page.locator(".mark [role=alert]").inner_text()
    page.fill("#reviewer", "Ada")
    page.fill("#note", "A plain list.\nRead twice.")
    page.get_by_role("button", name="Keep this row").click()
    assert "Marked: keep" in page.locator(".mark [role=status]").inner_text()
    page.locator("#row-3").click()
    assert page.locator("#reviewer").input_value() == "Ada"
    page.fill("#note", "Agreed.")
    page.get_by_role("button", name="Remove this row").click()
    assert page.locator("#marked").inner_text() == "2 rows are marked."
    with page.expect_download() as download:
        page.click("#export")
    assert download.value.suggested_filename == "overrides.json"
    content = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    assert content["version"] == 1
    assert content["run"] == run_fingerprint(run.read_identity())
    assert [(entry["row"], entry["action"]) for entry in content["overrides"]] == [
        (3, "remove"),
        (25, "keep"),
    ]
    prints = fingerprints_of(open_source(run.path.parent / "train.jsonl"))
    assert content["overrides"][1] | {"time": ""} == {
        "row": 25,
        "fingerprint": prints[25],
        "action": "keep",
        "reviewer": "Ada",
        "time": "",
        "reason": "A plain list.\nRead twice.",
    }
    page.get_by_role("button", name="Take mark back").click()
    assert page.locator("#marked").inner_text() == "1 row is marked."


def test_exported_marks_change_the_data_files(browser: Any, tmp_path: Path) -> None:
    folder = synthetic_run(tmp_path, plain_rows(30), high=HIGH, at=3.0)
    _reported(folder)
    opened = OpenPage(browser, folder.page, accept_downloads=True)
    _mark(opened, 25, "Keep this row")
    _mark(opened, 4, "Remove this row")
    with opened.page.expect_download() as download:
        opened.page.click("#export")
    marks = tmp_path / "overrides.json"
    download.value.save_as(marks)
    opened.close()
    assert gradshield("apply", folder.path, "--overrides", marks).code == 0
    lines = (tmp_path / "train.jsonl").read_bytes().splitlines(keepends=True)
    kept, removed = ((folder.path / f"{name}.jsonl").read_bytes() for name in ("kept", "removed"))
    assert removed == lines[3] + lines[4] + lines[11]
    assert lines[25] in kept
    again = OpenPage(browser, folder.page)
    assert "2 rows that reviewers decided otherwise" in again.page.locator("h1").inner_text()
    again.page.locator("#row-25").click()
    assert "Ada said keep" in again.page.locator("#panel").inner_text()
    again.close()


def _mark(opened: OpenPage, row: int, button: str) -> None:
    page = opened.page
    page.fill("#query", f"place {row}.")
    opened.settle()
    page.locator(f"#row-{row}").click()
    page.fill("#reviewer", "Ada")
    page.fill("#note", "Read twice.")
    page.get_by_role("button", name=button).click()


def test_the_review_server_saves_marks_and_gives_rows_beside_the_page(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = synthetic_run(tmp_path, plain_rows(60), high=HIGH, at=3.0)
    monkeypatch.setattr(details, "ROWS_PER_BLOCK", 10)
    monkeypatch.setattr(details, "MOST_PACKED_BYTES", 3000)
    _reported(folder)
    beside = json.loads((folder.path / "report_rows" / "00000.json").read_text(encoding="utf-8"))
    server = ReviewServer(open_site(folder, "Ada"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        opened = OpenPage(browser, server.address)
        page = opened.page
        page.check("#reveal")
        row = beside[0]["row"]
        page.fill("#query", str(row))
        opened.settle()
        page.locator(f"#row-{row}").click()
        page.wait_for_selector("#panel .turn")
        assert f"Name place {row}." in page.locator("#panel").inner_text()
        assert page.locator("#reviewer").input_value() == "Ada"
        page.fill("#note", "Read twice.")
        page.get_by_role("button", name="Remove this row").click()
        page.get_by_text("Saved: remove.").wait_for()
        assert "Marks are saved at once." in page.locator("#review").inner_text()
        page.get_by_role("button", name="Take mark back").click()
        page.get_by_text("No row is marked.").wait_for()
        assert opened.said == []
        opened.close()
    finally:
        server.shutdown()
        server.server_close()
    trail = read_overrides(folder)
    assert [(entry.row, entry.action) for entry in trail] == [(row, "remove"), (row, "withdraw")]


def test_from_a_file_rows_beside_the_page_are_told_of(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = synthetic_run(tmp_path, plain_rows(60), high=HIGH, at=3.0)
    monkeypatch.setattr(details, "ROWS_PER_BLOCK", 10)
    monkeypatch.setattr(details, "MOST_PACKED_BYTES", 3000)
    _reported(folder)
    beside = json.loads((folder.path / "report_rows" / "00000.json").read_text(encoding="utf-8"))
    opened = OpenPage(browser, folder.page)
    opened.page.fill("#query", str(beside[0]["row"]))
    opened.settle()
    assert "rows without text in this page were not searched" in opened.status()
    opened.page.locator(f"#row-{beside[0]['row']}").click()
    opened.page.get_by_text("gradshield review").wait_for()
    assert opened.said == []
    opened.close()


HOSTILE = (SCRIPT, HANDLER, BRACES, TURNED, CLOSING)


def test_hostile_rows_are_text(browser: Any, tmp_path: Path) -> None:
    rows: list[Any] = [chat(text, text, id=text, source=text[:80]) for text in HOSTILE]
    megabyte = "Loire river " * 90_000
    rows += [chat("Write much.", megabyte), f'{{"messages": {SCRIPT}', "[1]"]
    rows += plain_rows(20)
    folder = synthetic_run(tmp_path, rows, high=[0, 1, 2, 3, 4, 5], at=2.0)
    _reported(folder)
    opened = OpenPage(browser, folder.page)
    page = opened.page
    page.check("#reveal")
    for row, text in enumerate(HOSTILE):
        page.locator(f"#row-{row}").click()
        assert page.locator("#panel-title").inner_text() == f"Row {row}"
        shown = page.locator("#panel .turn .text").first.inner_text()
        if text not in (TURNED, CLOSING):
            assert shown == text
        assert page.locator("#panel script, #panel img, #panel svg").count() == 0
    turned = page.locator("#row-3").inner_text()
    assert "U+202E" in turned
    assert "\u202e" not in page.locator("#rows").inner_text()
    page.locator("#row-5").click()
    assert page.locator("#panel-title").inner_text() == "Row 5"
    assert "more characters are not shown" in page.locator("#panel").inner_text()
    assert page.locator("#panel .unscored").count() == 1
    page.fill("#query", "{%")
    opened.settle()
    assert opened.rows() == [2]
    page.fill("#query", SCRIPT)
    opened.settle()
    assert set(opened.rows()) == {0, 6}
    assert page.title() == "GradShield report: train.jsonl"
    policy = page.locator("meta[http-equiv]").get_attribute("content")
    assert "unsafe" not in policy
    # Proof that the policy is in force: the page itself may not add a script.
    page.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
        " document.body.append(s); }"
    )
    assert page.evaluate("window.ran") is None
    refused = [text for text in opened.said if "Content Security Policy" in text]
    assert len(refused) == len(opened.said) == 1
    opened.close()


def _opened_within(browser: Any, page_file: Path, seconds: float) -> OpenPage:
    """The page, opened in that time; a busy machine has three tries."""
    for _ in range(3):
        start = time.monotonic()
        opened = OpenPage(browser, page_file)
        taken = time.monotonic() - start
        if taken < seconds:
            return opened
        opened.close()
    raise AssertionError(f"the page took {taken:.1f} s to open")


def test_ten_thousand_rows_open_fast_and_scroll(browser: Any, tmp_path: Path) -> None:
    folder = synthetic_run(tmp_path, plain_rows(10_000, words=4), high=range(0, 10_000, 50), at=4)
    page_file = _reported(folder)
    assert page_file.stat().st_size < 6_000_000
    opened = _opened_within(browser, page_file, seconds=3.0)
    assert opened.status() == "10,000 of 10,000 rows"
    page = opened.page
    frames = page.evaluate(
        """async () => {
          const grid = document.getElementById("grid");
          const frame = () => new Promise((done) => requestAnimationFrame(done));
          const times = [];
          for (let step = 1; step <= 40; step += 1) {
            const start = performance.now();
            grid.scrollTop = (grid.scrollHeight * step) / 41;
            await frame();
            await frame();
            times.push(performance.now() - start);
          }
          return times.sort((a, b) => a - b);
        }"""
    )
    assert frames[len(frames) // 2] < 200  # two frames, 33 ms; more where the machine is busy
    assert page.locator("#body .line").count() < 60
    page.fill("#query", "place 9999.")
    while not opened.status().startswith("1 of"):
        page.wait_for_timeout(20)
    assert opened.rows() == [9999]
    assert opened.said == []
    opened.close()


def test_a_page_of_some_rows_says_what_it_lacks(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "MOST_ROWS", 25)
    folder = synthetic_run(tmp_path, plain_rows(60), high=HIGH, rejected=[7], at=3.0)
    opened = OpenPage(browser, _reported(folder))
    page = opened.page
    assert opened.status() == "25 of 25 rows in this page, of 60 in all"
    assert "The table shows 25 of 60 rows" in page.locator("#rows").inner_text()
    report = json.loads((folder.path / "report.json").read_text(encoding="utf-8"))["rows"]
    shown = page.evaluate(
        "[...JSON.parse(document.getElementById('report-data').textContent).columns.row]"
    )
    for row in opened.rows()[:3]:
        page.locator(f"#row-{row}").click()
        facts = page.locator("#panel .facts").inner_text()
        assert f"{report[row]['rank']} of 59" in facts
        assert f"{report[row]['percentile']:.2f}" in facts
        links = page.locator("#panel").inner_text().replace("\u00a0", " ")
        for other in report[row]["nearest_kept"]:
            assert f"{other} (" in links
            assert (f"{other} (not in this page)" in links) == (other not in shown)
    away = next(row for row in range(60) if row not in shown)
    page.fill("#query", str(away))
    opened.settle()
    assert f"row {away} is not among them: gradshield show RUN --row {away}" in opened.status()
    page.fill("#query", str(shown[0]))
    opened.settle()
    assert "not among them" not in opened.status()
    assert opened.said == []
    opened.close()


def test_what_is_printed(small: OpenPage) -> None:
    page = small.page
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    printed = page.locator("#printed")
    assert "The first 60 of 60 rows" in printed.inner_text()
    assert printed.locator("tbody tr").count() == 60
    assert "Name place" not in printed.inner_text()
    assert page.locator("#grid").is_hidden()
