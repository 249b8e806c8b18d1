"""Golden masks: what the real trainers made of the cases, written by `make_golden.py`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gradshield.data import DataError, Rejection, TokenizedExample, make_profile
from gradshield.data.conversation import Conversation
from gradshield.data.formats import FORMATS, detect_format
from gradshield.data.profiles import Profile
from gradshield.data.rows import SourceRow
from tests.data.profiles.cases import Case, tokenizer, vocabulary_sha256


def golden_cases(library: str) -> list[Any]:
    """The cases of one library, each with what it made under `golden`."""
    path = Path(__file__).parent / "golden" / f"{library}.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["vocabulary_sha256"] == vocabulary_sha256(), (
        "the tiny tokenizers changed: run tests/data/profiles/make_golden.py"
    )
    return [pytest.param(case, id=case["name"]) for case in content["cases"]]


def read(row: dict[str, Any]) -> Conversation:
    """A row by the format that is detected."""
    return detect_format([SourceRow(0, None, row)]).to_conversation(row)


def ours(
    profile: Profile | Mapping[str, Any] | str,
    row: dict[str, Any],
    tokenizer_name: str,
    max_length: int | None = None,
) -> TokenizedExample:
    """What the profile makes of a row."""
    encode = make_profile(profile).encoder(tokenizer(tokenizer_name), read, max_length)
    return encode(row).example(0)


def assert_same(example: TokenizedExample, golden: Mapping[str, Any]) -> None:
    """Tokens and labels are the trainer's.

    A label of the first token is no target, since nothing predicts it.
    """
    assert list(example.input_ids) == golden["input_ids"]
    wanted = [False, *(label != -100 for label in golden["labels"][1:])]
    assert list(example.response_mask) == wanted
    targets = [
        t for t, label in zip(golden["input_ids"], golden["labels"], strict=True) if label != -100
    ]
    labels = [label for label in golden["labels"] if label != -100]
    assert targets == labels, "a target that is no token of the row cannot be scored"


def trained(golden: Mapping[str, Any] | None) -> bool:
    """Whether the trainer learns anything from the row."""
    return golden is not None and any(label != -100 for label in golden["labels"][1:])


__all__ = ["FORMATS", "Case", "DataError", "Rejection", "assert_same", "golden_cases", "ours"]
