"""From options to a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gradshield.cli.run_config import build_config, checked
from gradshield.config import RunConfig, ThresholdSettings
from gradshield.errors import UserError

OPTIONS: dict[str, Any] = {
    "model": "./model",
    "adapter": Path("adapter"),
    "revision": "main",
    "dtype": "float16",
    "device": "cpu",
    "trust_remote_code": True,
    "format": "alpaca",
    "response": "last",
    "max_length": 99,
    "proxy": "first_token",
    "modules": "mlp",
    "probes_seed": 2**90,
    "take_out": "benign",
    "normalise": "module",
    "reduction": "sum",
    "preference_loss": "ipo",
    "beta": 0.2,
    "engine": "per_example",
    "batch_tokens": 7,
    "compile": True,
    "rule": "paper",
    "level": 0.1,
    "seed": 3,
    "on_reject": "keep",
    "split": "train",
    "subset": "small",
    "data_revision": "v1",
    "shards": 4,
}


def test_every_option_reaches_its_field() -> None:
    config = build_config(Path("data.jsonl"), **OPTIONS)
    assert config.model_dump() == {
        "data_path": "data.jsonl",
        "input": {"split": "train", "subset": "small", "data_revision": "v1"},
        "model": {
            "name": "./model",
            "adapter": "adapter",
            "revision": "main",
            "dtype": "float16",
            "device": "cpu",
            "trust_remote_code": True,
        },
        "data": {
            "format": "alpaca",
            "response": "last",
            "profile": {"name": "responses"},
            "max_length": 99,
        },
        "scoring": {
            "proxy": "first_token",
            "modules": "mlp",
            "probes_seed": 2**90,
            "take_out": "benign",
            "normalise": "module",
            "reduction": "sum",
            "preference_loss": "ipo",
            "beta": 0.2,
            "engine": "per_example",
            "batch_tokens": 7,
            "compile": True,
        },
        "threshold": {"rule": "paper", "level": 0.1, "seed": 3},
        "on_reject": "keep",
        "action": "drop",
        "shards": 4,
        "search": None,
    }


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        (
            "proxy",
            "x",
            "--proxy x: unknown proxy x, choose one of first_token, token_sets, contrast, past",
        ),
        (
            "proxy",
            "contrast+x",
            "--proxy contrast+x: unknown proxy x, choose one of first_token, token_sets",
        ),
        ("rule", "x", "--threshold x: unknown, choose one of paper"),
        ("engine", "x", "--engine x: unknown, choose one of auto, finite_difference"),
        ("format", "x", "--format x: unknown, choose one of auto"),
        ("max_length", 1, "--max-length 1: "),
        ("on_reject", "x", "--on-reject x: Input should be 'hold', 'keep' or 'fail'"),
    ],
)
def test_a_wrong_value_names_its_option(field: str, value: Any, words: str) -> None:
    with pytest.raises(UserError) as caught:
        build_config(Path("data.jsonl"), **OPTIONS | {field: value})
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


def test_checked_settings_on_their_own() -> None:
    assert checked(ThresholdSettings, rule="paper").rule == "paper"
    with pytest.raises(UserError, match="--level 0: "):
        checked(ThresholdSettings, level=0)
    stored = RunConfig(data_path="data.jsonl").model_dump()
    assert checked(RunConfig, **stored) == RunConfig(data_path="data.jsonl")
