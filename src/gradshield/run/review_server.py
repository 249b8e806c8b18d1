"""A server for one reviewer on one machine: the report of a run, and a way to save marks in it.

It listens on the loopback interface alone. Whoever does not have the token in the address is
refused, as is a request that came in under another host name, which a page of a stranger could make
a browser send (DNS rebinding). Nothing is written but lines of `overrides.jsonl`.
"""

from __future__ import annotations

import re
import secrets
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

from gradshield.errors import UserError
from gradshield.reporting.page import ROWS_FOLDER
from gradshield.run.review import ReviewSite

HOST = "127.0.0.1"
MOST_BODY = 64 * 1024
"""Bytes of a mark; a reason has at most a few thousand characters."""
SECONDS_PER_REQUEST = 30

_ROWS = re.compile(rf"/({ROWS_FOLDER}/[0-9]{{5}}\.json)")
"""Rows that did not fit into the page."""

_HEADERS = {
    "Cache-Control": "no-store",
    # The page has a policy of its own, which allows its script and style by their hashes.
    "Content-Security-Policy": (
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; object-src 'none'; "
        "connect-src 'self'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class ReviewServer(ThreadingHTTPServer):
    """Serves a site on the loopback interface.

    Args:
        site: What to serve.
        port: 0 takes a free one.

    Raises:
        UserError: The port is taken or not allowed.
    """

    daemon_threads = True

    def __init__(self, site: ReviewSite, port: int = 0) -> None:
        self.site = site
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as fault:
            raise UserError(
                f"Cannot listen on {HOST}, port {port} ({fault}): name another --port, or none."
            ) from fault

    @property
    def address(self) -> str:
        """Where a browser finds the page; whoever has it can mark rows."""
        return f"http://{HOST}:{self.server_port}/?token={self.site.token}"


class _Handler(BaseHTTPRequestHandler):
    timeout = SECONDS_PER_REQUEST
    server_version, sys_version = "gradshield", ""

    @property
    def _site(self) -> ReviewSite:
        return cast(ReviewServer, self.server).site

    def do_GET(self) -> None:
        """The page, or rows that lie beside it."""
        if not self._allowed():
            return
        path = urlsplit(self.path).path
        rows = _ROWS.fullmatch(path)
        if path == "/":
            self._answer(HTTPStatus.OK, self._site.page(), "text/html; charset=utf-8")
        elif rows and (file := self._site.folder.path / rows[1]).is_file():
            self._answer(HTTPStatus.OK, file.read_bytes(), "application/json")
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        """Save a mark."""
        if not self._allowed():
            return
        if urlsplit(self.path).path != "/overrides":
            self.send_error(HTTPStatus.NOT_FOUND)
        elif not self._is_from_the_page():
            self.send_error(HTTPStatus.FORBIDDEN, "The request is not from the page.")
        elif self.headers.get_content_type() != "application/json":
            self.send_error(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        elif (length := self._length()) is None:
            self.send_error(HTTPStatus.LENGTH_REQUIRED)
        elif length > MOST_BODY:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            self._save(self.rfile.read(length))

    def _save(self, body: bytes) -> None:
        try:
            self._site.save(body)
        except UserError as fault:
            self.send_error(HTTPStatus.UNPROCESSABLE_ENTITY, str(fault))
        except OSError as fault:
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, f"Not saved: {fault.strerror}.")
        else:
            self._answer(HTTPStatus.OK, b'{"saved": true}', "application/json")

    def _allowed(self) -> bool:
        """Whether the request is for this server and has its token; else it is refused."""
        port = cast(ReviewServer, self.server).server_port
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or hosts[0] not in (f"{HOST}:{port}", f"localhost:{port}"):
            self.send_error(HTTPStatus.FORBIDDEN, "This server has another name.")
            return False
        given = parse_qs(urlsplit(self.path).query).get("token", [""])[0]
        if not secrets.compare_digest(given.encode("utf-8", "replace"), self._site.token.encode()):
            self.send_error(HTTPStatus.FORBIDDEN, "The address lacks the token of this review.")
            return False
        return True

    def _is_from_the_page(self) -> bool:
        """Whether nothing that browsers tell of a request speaks of another page."""
        origin = self.headers.get("Origin", f"http://{self.headers['Host']}")
        site = self.headers.get("Sec-Fetch-Site", "same-origin")
        return origin == f"http://{self.headers['Host']}" and site == "same-origin"

    def _length(self) -> int | None:
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None

    def _answer(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer with one line of plain text, which the page shows."""
        self.close_connection = True
        text = message or HTTPStatus(code).phrase
        self._answer(code, text.encode("utf-8", "replace"), "text/plain; charset=utf-8")

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing: an address holds the token."""
