"""From the options that name a trainer, or its file, to data settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from gradshield.cli.profile_options import data_choice
from gradshield.config import DataSettings
from gradshield.errors import UserError

ROWS = Path("rows.jsonl")


@pytest.fixture
def axolotl(tmp_path: Path) -> Path:
    (tmp_path / "chats.jsonl").touch()
    entry = {"path": "chats.jsonl", "type": "chat_template", "roles_to_train": ["assistant"]}
    path = tmp_path / "axolotl.yaml"
    path.write_text(yaml.safe_dump({"sequence_len": 700, "datasets": [entry]}), encoding="utf-8")
    return path


@pytest.fixture
def dataset_info(tmp_path: Path) -> Path:
    (tmp_path / "mine.json").touch()
    path = tmp_path / "dataset_info.json"
    entry = {"file_name": "mine.json", "formatting": "sharegpt"}
    path.write_text(json.dumps({"mine": entry}), encoding="utf-8")
    return path


def _settings(**options: Any) -> DataSettings:
    return DataSettings(**data_choice(ROWS, **options).settings)


def test_without_options_nothing_changes() -> None:
    assert _settings() == DataSettings()
    assert data_choice(None).path is None


@pytest.mark.parametrize(
    ("options", "length"),
    [
        ({}, 2048),
        ({"profile": "trl"}, 1024),
        ({"profile": "axolotl"}, 512),
        ({"profile": "llamafactory"}, 2048),
        ({"profile": "trl", "max_length": 77}, 77),
    ],
)
def test_the_length_is_the_trainers_unless_one_is_given(
    options: dict[str, Any], length: int
) -> None:
    assert _settings(**options).max_length == length


def test_options_of_a_profile_are_yaml() -> None:
    settings = _settings(
        profile="unsloth",
        profile_option=[
            'instruction_part="<|im_start|>user\\n"',
            "response_part='[/INST]'",
            "last_response_only=true",
        ],
    )
    assert settings.profile.model_dump() == {
        "name": "unsloth",
        "instruction_part": "<|im_start|>user\n",
        "response_part": "[/INST]",
        "last_response_only": True,
    }


def test_a_configuration_names_data_profile_and_length(axolotl: Path) -> None:
    choice = data_choice(None, axolotl=axolotl)
    assert choice.path == str(axolotl.parent / "chats.jsonl")
    settings = DataSettings(**choice.settings)
    assert settings.profile.name == "axolotl"
    assert settings.max_length == 700


def test_options_go_before_the_file(axolotl: Path) -> None:
    choice = data_choice(
        ROWS,
        axolotl=axolotl,
        profile="axolotl",
        profile_option=["train_on_inputs=true"],
        max_length=88,
    )
    assert choice.path == str(ROWS)
    settings = DataSettings(**choice.settings)
    assert settings.max_length == 88
    assert settings.profile.model_dump()["train_on_inputs"] is True


def test_a_data_set_of_llamafactory(dataset_info: Path) -> None:
    choice = data_choice(None, dataset_info=dataset_info, dataset="mine")
    assert choice.path == str(dataset_info.parent / "mine.json")
    assert DataSettings(**choice.settings).profile.reads is not None


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"profile": "trl", "axolotl": True}, "--profile trl contradicts the axolotl file"),
        ({"axolotl": True, "llamafactory": Path("sft.yaml")}, "are of two trainers"),
        ({"dataset": "mine"}, "--dataset names a data set of"),
        ({"profile": "trl", "profile_option": ["packing"]}, "packing: write KEY=VALUE"),
        ({"profile": "trl", "profile_option": ["x=[1"]}, "the value is no YAML"),
        ({"profile": "trl", "profile_option": ["x=1"]}, "no setting 'x'"),
        ({"profile": "trl", "response": "last"}, "--response last belongs to the profile resp"),
        ({"axolotl": True, "format": "alpaca"}, "--format alpaca: the profile axolotl reads rows"),
    ],
)
def test_contradictions_are_named(options: dict[str, Any], complaint: str, axolotl: Path) -> None:
    given = {**options, **({"axolotl": axolotl} if options.get("axolotl") else {})}
    with pytest.raises(UserError, match=complaint):
        _settings(**given)
