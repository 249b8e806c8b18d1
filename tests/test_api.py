from __future__ import annotations

import json

import pytest

from gradshield.api import BusyError, Patience, api_key, json_request
from gradshield.errors import UserError


def test_requests_carry_json_and_a_key() -> None:
    post = json_request("http://host/v1/x", {"a": "é"}, "secret")
    assert post.get_method() == "POST"
    assert isinstance(post.data, bytes)
    assert json.loads(post.data) == {"a": "é"}
    assert post.headers["Authorization"] == "Bearer secret"
    get = json_request("http://host/v1/x", None, None)
    assert get.get_method() == "GET"
    assert "Authorization" not in get.headers


def test_a_key_comes_from_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert api_key(None, "http://host") is None
    monkeypatch.setenv("SOME_KEY", " secret\n")
    assert api_key("SOME_KEY", "http://host") == "secret"
    monkeypatch.delenv("SOME_KEY")
    with pytest.raises(UserError, match="SOME_KEY is not set"):
        api_key("SOME_KEY", "http://host")


def test_waits_double_and_end() -> None:
    waits: list[float] = []
    patience = Patience(timeout=1, retries=3, first_wait=2.0, sleep=waits.append)
    with pytest.raises(BusyError):
        patience.fetch(json_request("http://127.0.0.1:9/", None, None))
    assert waits == [2.0, 4.0, 8.0]
