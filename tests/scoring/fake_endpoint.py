"""A small completions endpoint with two adapters, as vLLM serves them, for the tests."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch
from transformers import PreTrainedModel


@dataclass
class FakeEndpoint:
    """Computes prompt log-probabilities of token lists with a model for each name.

    Attributes:
        models: By the name that requests give; each is a model of its own.
        url: Where it listens.
        limit: Longest prompt that it takes.
        knows_prompt_logprobs: Whether it is like vLLM; otherwise it knows `echo` only.
        adds: Tokens that it puts in front, as a server with the wrong settings would.
        busy: Requests that it turns away before it answers one.
        seen: The bodies of all requests.
    """

    models: dict[str, PreTrainedModel]
    url: str = ""
    limit: int = 1000
    knows_prompt_logprobs: bool = True
    adds: tuple[int, ...] = ()
    busy: int = 0
    seen: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reply(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self.lock:  # the models are not made for several threads
            self.seen.append(body)
            if self.busy:
                self.busy -= 1
                return 503, {}
            if body["model"] not in self.models:
                text = f"The model `{body['model']}` does not exist."
                return 404, {"error": {"message": text, "code": 404}}
            tokens = [*self.adds, *body["prompt"]]
            if len(tokens) > self.limit:
                return 400, {"error": {"message": f"maximum context length is {self.limit}"}}
            logprobs = self._logprobs(self.models[body["model"]], tokens)
        choice: dict[str, Any] = {"index": 0, "text": "x", "finish_reason": "length"}
        if self.knows_prompt_logprobs and "prompt_logprobs" in body:
            known = zip(tokens[1:], logprobs, strict=True)
            # The token itself, and as in vLLM the likeliest one beside it.
            choice["prompt_logprobs"] = [
                None,
                *({str(t): {"logprob": p, "rank": 9}, "-1": {"logprob": -0.1}} for t, p in known),
            ]
        if body.get("echo"):
            choice["logprobs"] = {"token_logprobs": [None, *logprobs, -1.0], "tokens": []}
        return 200, {"object": "text_completion", "choices": [choice]}

    @staticmethod
    def _logprobs(model: PreTrainedModel, tokens: list[int]) -> list[float]:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([tokens])).logits[0].float()
        found = logits.log_softmax(dim=1)[:-1].gather(1, torch.tensor(tokens[1:])[:, None])
        return [float(value) for value in found[:, 0]]


@contextmanager
def serving(models: dict[str, PreTrainedModel], **options: Any) -> Iterator[FakeEndpoint]:
    """Serve models under their names while the block runs."""
    fake = FakeEndpoint(models, **options)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            names = [{"id": name} for name in ["base", *fake.models]]
            self._send(200, {"object": "list", "data": names})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._send(*fake.reply(body))

        def _send(self, code: int, content: dict[str, Any]) -> None:
            self.send_response(code)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *ignored: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
