"""Asking an HTTP API: requests in JSON, keys from the environment, patience with a busy server."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from gradshield.errors import UserError

BUSY = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""HTTP statuses that may be gone a moment later."""
LONGEST_WAIT = 60.0
"""Seconds waited at most before another try, whatever the server asks for."""


class BusyError(Exception):
    """The server cannot be reached or is busy; `wait` is what it asked for, in seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for.

    Attributes:
        timeout: Seconds until a reply must have come.
        retries: Further tries when the server is busy or cannot be reached.
        first_wait: Seconds before the first further try; doubled for each next one.
        sleep: Waits a number of seconds.
    """

    timeout: float = 60.0
    retries: int = 5
    first_wait: float = 1.0
    sleep: Callable[[float], None] = time.sleep

    def fetch(self, request: Request) -> bytes:
        """The body of the server's reply.

        Raises:
            BusyError: None came in all tries.
            HTTPError: A status that will not pass.
        """
        for attempt in range(self.retries):
            try:
                return _fetch(request, self.timeout)
            except BusyError as fault:
                asked_for = fault.wait if fault.wait is not None else 0.0
                self.sleep(min(max(asked_for, self.first_wait * 2**attempt), LONGEST_WAIT))
        return _fetch(request, self.timeout)


def json_request(url: str, body: dict[str, Any] | None, key: str | None) -> Request:
    """A POST of a JSON body, or a GET without one, with the key as bearer."""
    headers = {"Content-Type": "application/json"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    if body is None:
        return Request(url, headers=headers)
    return Request(url, json.dumps(body).encode(), headers, method="POST")


def api_key(variable: str | None, url: str) -> str | None:
    """The key in an environment variable, None where no variable is named.

    Read at every call, so that it is stored and shown nowhere.

    Raises:
        UserError: The variable is not set.
    """
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise UserError(
            f"The environment variable {variable} is not set: put the API key of {url} into it, or "
            "name another variable."
        )
    return key


def _fetch(request: Request, timeout: float) -> bytes:
    """The body of the server's reply; HTTP statuses that will not pass are `HTTPError`."""
    try:
        with urlopen(request, timeout=timeout) as reply:
            body: bytes = reply.read()
            return body
    except HTTPError as fault:
        if fault.code not in BUSY:
            raise
        raise BusyError(
            f"HTTP status {fault.code}", _seconds(fault.headers["Retry-After"])
        ) from fault
    except (OSError, HTTPException) as fault:
        raise BusyError(str(getattr(fault, "reason", fault)) or type(fault).__name__) from fault


def _seconds(header: str | None) -> float | None:
    """Seconds of a `Retry-After` header; None for a date or nonsense."""
    return float(header) if header is not None and header.strip().isdecimal() else None


def shown(body: bytes) -> str:
    """The beginning of a reply, on one line."""
    return repr(" ".join(body.decode("utf-8", "replace").split())[:200])
