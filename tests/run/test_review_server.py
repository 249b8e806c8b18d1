"""The review server: what it serves, what it saves, and whom it refuses."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gradshield.errors import UserError
from gradshield.reporting.page import REVIEW_MARKER as MARKER
from gradshield.run.folder import RunFolder
from gradshield.run.overrides import in_effect, read_overrides
from gradshield.run.review import open_site
from gradshield.run.review_server import MOST_BODY, ReviewServer
from tests.run.run_folders import made_run, mark

PAGE = f"<!doctype html><html><head><meta charset=utf-8>{MARKER}<title>R</title></head></html>"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = made_run(tmp_path)
    (folder.path / "report.html").write_text(PAGE, encoding="utf-8")
    (folder.path / "report_rows").mkdir()
    (folder.path / "report_rows" / "00000.json").write_text("[1]")
    return folder


@pytest.fixture
def server(folder: RunFolder) -> Iterator[ReviewServer]:
    server = ReviewServer(open_site(folder, 'A "B" <C>'))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def _ask(
    server: ReviewServer,
    method: str,
    path: str,
    body: bytes | None = None,
    *,
    token: str | None = None,
    **headers: str,
) -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    known = server.site.token if token is None else token
    connection.request(method, f"{path}?token={known}", body, named)
    answer = connection.getresponse()
    text = answer.read().decode("utf-8")
    connection.close()
    return answer.status, text, dict(answer.getheaders())


def _post(server: ReviewServer, content: Any, **headers: str) -> tuple[int, str, dict[str, str]]:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return _ask(
        server, "POST", "/overrides", body, **{"Content_Type": "application/json", **headers}
    )


def test_the_page_is_told_where_to_save(server: ReviewServer) -> None:
    status, text, headers = _ask(server, "GET", "/")
    assert status == 200
    token = server.site.token
    assert f'<meta name="gradshield-review" content="/overrides?token={token}">' in text
    assert 'name="gradshield-reviewer" content="A &quot;B&quot; &lt;C&gt;"' in text
    assert MARKER not in text
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"


def test_the_address_is_loopback_and_has_a_long_token(server: ReviewServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert server.address == f"http://127.0.0.1:{server.server_port}/?token={server.site.token}"
    assert len(server.site.token) >= 43  # 32 random bytes


def test_a_mark_is_saved_at_once(server: ReviewServer, folder: RunFolder) -> None:
    status, text, _ = _post(server, mark(folder, 4, "keep"))
    assert (status, json.loads(text)) == (200, {"saved": True})
    assert _post(server, mark(folder, 4, "withdraw"))[0] == 200
    trail = read_overrides(folder)
    assert [(one.row, one.action, one.reviewer) for one in trail] == [
        (4, "keep", "Ada"),
        (4, "withdraw", "Ada"),
    ]


def test_a_mark_that_was_taken_back_can_be_made_again(
    server: ReviewServer, folder: RunFolder
) -> None:
    """All within a second, so that the third is like the first."""
    for action in ("keep", "withdraw", "keep"):
        assert _post(server, mark(folder, 4, action))[0] == 200
    assert set(in_effect(read_overrides(folder))) == {4}
    marks = _ask(server, "GET", "/")[1].partition('id="gradshield-marks">')[2]
    assert [one["row"] for one in json.loads(marks.partition("</script>")[0])] == [4]


def test_text_of_a_mark_cannot_leave_its_element(server: ReviewServer, folder: RunFolder) -> None:
    hostile = "</script><script>alert(1)</script><!-- \u2028"
    assert _post(server, mark(folder, 4, "keep", reason=hostile))[0] == 200
    text = _ask(server, "GET", "/")[1]
    assert text.count("</script>") == 1
    assert "alert(1)" in text


def test_a_mark_without_a_name_gets_the_one_of_the_server(
    server: ReviewServer, folder: RunFolder
) -> None:
    assert _post(server, mark(folder, 4, "keep", reviewer=""))[0] == 200
    assert read_overrides(folder)[0].reviewer == 'A "B" <C>'


@pytest.mark.parametrize("token", ["", "x", "x" * 43, "é"])
@pytest.mark.parametrize("path", ["/", "/report_rows/00000.json", "/overrides", "/nowhere"])
def test_without_the_token_nothing_is_served(server: ReviewServer, path: str, token: str) -> None:
    quoted = token.encode().decode("latin-1").replace("\xc3\xa9", "%C3%A9")
    assert _ask(server, "GET", path, token=quoted)[0] == 403


def test_without_the_token_nothing_is_saved(server: ReviewServer, folder: RunFolder) -> None:
    body = json.dumps(mark(folder, 4, "keep")).encode()
    status, _, _ = _ask(
        server, "POST", "/overrides", body, token="x", Content_Type="application/json"
    )
    assert status == 403
    assert not folder.overrides.exists()


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1"]
)
def test_another_host_name_is_refused(server: ReviewServer, host: str) -> None:
    name = host.format(port=server.server_port)
    assert _ask(server, "GET", "/", Host=name)[0] == 403
    assert _post(server, {}, Host=name)[0] == 403


def test_localhost_is_this_machine_too(server: ReviewServer) -> None:
    assert _ask(server, "GET", "/", Host=f"localhost:{server.server_port}")[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_a_mark_from_another_page_is_refused(
    server: ReviewServer, folder: RunFolder, headers: dict[str, str]
) -> None:
    assert _post(server, mark(folder, 4, "keep"), **headers)[0] == 403
    assert not folder.overrides.exists()


def test_only_files_of_the_report_are_served(server: ReviewServer) -> None:
    assert _ask(server, "GET", "/report_rows/00000.json")[:2] == (200, "[1]")
    for path in (
        "/report_rows/00001.json",
        "/report_rows/",
        "/report_rows/../decision.json",
        "/report_rows/%2e%2e/decision.json",
        "/decision.json",
        "/report.html",
        "/overrides.jsonl",
        "//etc/passwd",
        "/overrides",
    ):
        assert _ask(server, "GET", path)[0] == 404, path


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
def test_other_methods_do_nothing(server: ReviewServer, method: str) -> None:
    assert _ask(server, method, "/overrides", b"{}")[0] == 501


def test_nothing_else_can_be_written(server: ReviewServer, folder: RunFolder) -> None:
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    for path in ("/", "/report.html", "/decision.json", "/overrides/", "/report_rows/00000.json"):
        status, _, _ = _ask(server, "POST", path, b"{}", Content_Type="application/json")
        assert status == 404, path
    after = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    assert after == before


def test_a_form_of_another_page_cannot_send_it(server: ReviewServer, folder: RunFolder) -> None:
    body = mark(folder, 4, "keep")
    assert _post(server, body, Content_Type="text/plain")[0] == 415
    assert _post(server, body, Content_Type="application/x-www-form-urlencoded")[0] == 415


@pytest.mark.parametrize(
    ("length", "status"), [(str(MOST_BODY + 1), 413), ("9" * 30, 411), ("-1", 411), ("x", 411)]
)
def test_a_body_of_an_impossible_size(server: ReviewServer, length: str, status: int) -> None:
    assert _post(server, b"{}", Content_Length=length)[0] == status


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no JSON"),
        (b"\xff", "no JSON"),
        (b"[" * 60_000, "no JSON"),
        (b"[]", "The mark: "),
        (b'{"row": 1}', "The mark (row 1): "),
    ],
)
def test_what_is_no_mark_is_told(
    server: ReviewServer, folder: RunFolder, body: bytes, words: str
) -> None:
    status, text, headers = _post(server, body)
    assert status == 422
    assert words in text
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert not folder.overrides.exists()


def test_a_mark_of_another_text_is_refused(server: ReviewServer, folder: RunFolder) -> None:
    status, text, _ = _post(server, mark(folder, 4, "keep", fingerprint="0" * 64))
    assert status == 422
    assert "The mark (row 4): the row is not the one that was reviewed" in text


def test_a_run_that_was_replaced_takes_no_more_marks(
    server: ReviewServer, folder: RunFolder
) -> None:
    body = mark(folder, 4, "keep")
    folder.claim({"data_sha256": "other"}, {}, force=True)
    assert _post(server, body)[0] == 422
    assert not folder.overrides.exists()


def test_a_port_that_is_taken(server: ReviewServer) -> None:
    with pytest.raises(UserError, match=f"port {server.server_port}.*name another --port"):
        ReviewServer(server.site, server.server_port)
