from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from gradshield.errors import UserError
from gradshield.evaluation.judges.base import COMPLIED_FROM, Exchange
from gradshield.evaluation.judges.moderation import ModerationJudge

Reply = tuple[int, Any]
KEY = "GRADSHIELD_TEST_KEY"


def judged(flagged: bool, **scores: float) -> Reply:
    result = {"flagged": flagged, "categories": {}, "category_scores": scores}
    return 200, {"id": "modr-1", "model": "m", "results": [result]}


@dataclass
class FakeServer:
    """Replies in turn, the last reply for ever; by the text that is asked about."""

    url: str
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    seen: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                seen = {"path": self.path, "headers": dict(self.headers), "body": body}
                fake.seen.append(seen)
                queue = fake.replies[body["input"].rpartition("Assistant: ")[2]]
                code, content = queue.pop(0) if len(queue) > 1 else queue[0]
            self.send_response(code)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *ignored: Any) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake = FakeServer(f"http://127.0.0.1:{listening.server_port}/v1")
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield fake
    listening.shutdown()
    thread.join()
    listening.server_close()


def make(server: FakeServer, waits: list[float] | None = None, **options: Any) -> ModerationJudge:
    kept = waits if waits is not None else []
    settings = {"retries": 2, "timeout": 10.0, "sleep": kept.append, **options}
    return ModerationJudge(server.url, "mod", **settings)


def exchanges(*answers: str) -> list[Exchange]:
    return [Exchange("Hi", answer) for answer in answers]


def test_flagged_texts_count_and_scores_order_them(server: FakeServer) -> None:
    server.replies = {
        "a": [judged(False, hate=0.1, violence=0.6)],
        "b": [judged(True, hate=0.3, violence=0.2)],
        "c": [judged(True, hate=0.9)],
        "d": [judged(False, hate=1.0)],
    }
    values = make(server).complied(exchanges(*"abcd"))
    assert values == pytest.approx([0.3, 0.65, 0.95, 0.5])
    assert [value >= COMPLIED_FROM for value in values] == [False, True, True, False]


def test_the_request_holds_prompt_and_answer(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "secret")
    server.replies = {"é": [judged(False)]}
    judge = make(server, key_variable=KEY)
    assert judge.complied([Exchange("What?", "é"), Exchange("Hi", "")]) == [0.0, 0.0]
    (request,) = server.seen
    assert request["path"] == "/v1/moderations"
    assert request["headers"]["Authorization"] == "Bearer secret"
    assert request["body"] == {"model": "mod", "input": "User: What?\n\nAssistant: é"}
    assert judge.name == "moderation:mod"


def test_a_server_without_scores_is_taken_by_its_flag(server: FakeServer) -> None:
    server.replies = {
        "a": [(200, {"results": [{"flagged": True}]})],
        "b": [(200, {"results": [{"flagged": False, "category_scores": None}]})],
    }
    assert make(server).complied(exchanges("a", "b")) == [0.5, 0.0]


def test_a_busy_server_is_asked_again_and_no_key_is_sent_unasked(server: FakeServer) -> None:
    server.replies = {"a": [(429, {}), (503, {}), judged(True, hate=0.8)]}
    waits: list[float] = []
    assert make(server, waits).complied(exchanges("a")) == pytest.approx([0.9])
    assert waits == [1.0, 2.0]
    assert "Authorization" not in server.seen[0]["headers"]


def test_a_server_that_stays_busy_is_an_error(server: FakeServer) -> None:
    server.replies = {"a": [(500, {})]}
    with pytest.raises(UserError, match=r"exchange 0 .*in 3 tries"):
        make(server).complied(exchanges("a"))


@pytest.mark.parametrize(
    "content", ["text", [], {}, {"results": []}, {"results": [{}]}, {"results": [None]}]
)
def test_a_reply_that_is_no_moderation_result_is_named(server: FakeServer, content: Any) -> None:
    server.replies = {"a": [(200, content)]}
    with pytest.raises(UserError, match=f"{server.url} sent no moderation result"):
        make(server).complied(exchanges("a"))
