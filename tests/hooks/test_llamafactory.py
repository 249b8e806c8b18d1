"""What is read from a LLaMA-Factory configuration, and what the new files say."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from gradshield.errors import UserError
from gradshield.hooks import HOOKS, HookSettings, Plan
from tests.hooks.configurations import LLAMAFACTORY, llamafactory_folder


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    llamafactory_folder(tmp_path, Path("model"))
    return Path("train.yaml")


def _plan(config: Path, **settings: object) -> Plan:
    new = Path("train.gradshield.yaml")
    return HOOKS["llamafactory"].plan(config, new, HookSettings(**settings))  # type: ignore[arg-type]


def _change(config: Path, **values: object) -> None:
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), **values}))


def _new(plan: Plan) -> tuple[dict[str, Any], dict[str, Any]]:
    info, config = plan.rewrite("abc").values()
    return json.loads(info), yaml.safe_load(config)


def test_each_data_set_is_filtered_with_the_model_that_is_trained(config: Path) -> None:
    plan = _plan(config)
    assert [filtering.command for filtering in plan.filterings] == [
        "gradshield filter data/chat.jsonl --out train.gradshield.runs/0-chat "
        "--llamafactory train.yaml --dataset chat --model model",
        "gradshield filter data/alpaca.json --out train.gradshield.runs/1-alpaca_rows "
        "--llamafactory train.yaml --dataset alpaca_rows --model model",
    ]
    assert plan.train == "llamafactory-cli train train.gradshield.yaml"


def test_only_the_data_is_another(config: Path) -> None:
    text = _plan(config).rewrite("abc")[Path("train.gradshield.yaml")]
    assert text == (
        LLAMAFACTORY.format(model="model")
        .replace("chat, alpaca_rows ", "chat_gradshield,alpaca_rows_gradshield ")
        .replace("dataset_dir: data", "dataset_dir: train.gradshield.data")
        .replace("model_name", "media_dir: data\nmodel_name")
    )


def test_every_entry_is_seen_from_the_new_folder(config: Path) -> None:
    old = json.loads(Path("data/dataset_info.json").read_text())
    info, _ = _new(_plan(config))
    assert sorted(info) == sorted([*old, "chat_gradshield", "alpaca_rows_gradshield"])
    kept = "../train.gradshield.runs/0-chat/kept.jsonl"
    assert info["chat_gradshield"] == {**old["chat"], "file_name": kept}
    for name in ("chat", "alpaca_rows", "unused"):
        seen = os.path.join("train.gradshield.data", info[name]["file_name"])
        meant = os.path.join("data", old[name]["file_name"])
        assert os.path.abspath(seen) == os.path.abspath(meant)
    assert info["elsewhere"] == old["elsewhere"]


def test_paths_that_are_whole_stay_so(config: Path, tmp_path: Path) -> None:
    path = Path("data/dataset_info.json")
    info = json.loads(path.read_text())
    info["chat"]["file_name"] = str(tmp_path / "data" / "chat.jsonl")
    path.write_text(json.dumps(info))
    new, _ = _new(_plan(config))
    assert new["chat"]["file_name"] == str(tmp_path / "data" / "chat.jsonl")


def test_names_in_a_list(config: Path) -> None:
    _change(config, dataset=["chat", "elsewhere"], eval_dataset="alpaca_rows", media_dir="pictures")
    plan = _plan(config, leave_remote=True)
    _, new = _new(plan)
    assert new["dataset"] == ["chat_gradshield", "elsewhere"]
    assert new["eval_dataset"] == "alpaca_rows"
    assert new["media_dir"] == "pictures"
    assert plan.notes == ("elsewhere is left as it is: its rows are NOT filtered.",)


def test_rows_that_were_tokenised_before_are_not_taken(config: Path) -> None:
    _change(config, tokenized_path="cache/tokens")
    assert _new(_plan(config))[1]["tokenized_path"] == "cache/tokens-gradshield-abc"


def test_settings_that_decide_what_is_scored(config: Path) -> None:
    _change(config, mask_history=True, adapter_name_or_path="./lora", cutoff_len=100, packing=True)
    filtering = _plan(config).filterings[0]
    assert filtering.config.model.adapter == "./lora"
    data = filtering.config.data
    assert (data.profile.name, data.max_length) == ("llamafactory", 99)
    assert data.profile.model_dump()["mask_history"] is True
    answers = _plan(config, only_answers=True).filterings[0]
    assert answers.config.data.response == "last"
    assert "--max-length 100 --response last" in answers.command
    _change(config, mask_history=False, train_on_prompt=True)
    assert _plan(config).notes == ()
    assert "only responses are scored" in _plan(config, only_answers=True).notes[0]


@pytest.mark.parametrize(("pref_loss", "loss"), [("sigmoid", "dpo"), ("ipo", "ipo")])
def test_preferences_are_scored_as_such(config: Path, pref_loss: str, loss: str) -> None:
    _change(config, stage="dpo", pref_loss=pref_loss)
    filtering = _plan(config).filterings[0]
    assert filtering.config.scoring.preference_loss == loss
    assert filtering.config.data.profile.name == "responses"
    assert ("--preference-loss ipo" in filtering.command) == (loss == "ipo")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"dataset": None}, "names no `dataset`"),
        ({"dataset": " , "}, "names no `dataset`"),
        ({"dataset": "chta"}, "has no entry chta; it has chat, alpaca_rows"),
        ({"dataset": "elsewhere"}, "--leave-remote"),
        ({"dataset": "unused"}, "which is not there"),
        ({"dataset": "folder"}, "is a folder"),
        ({"dataset_dir": "REMOTE:some/where"}, "There is no REMOTE:some/where/dataset_info.json"),
        ({"model_name_or_path": None}, "names no model"),
        ({"adapter_name_or_path": "a,b"}, "several adapters"),
        ({"stage": "kto"}, "stage: kto is not supported"),
        ({"stage": "dpo", "pref_loss": "orpo"}, "pref_loss: orpo is not supported"),
        ({"tool_format": "llama3"}, "--only-answers"),
    ],
)
def test_what_cannot_be_used(config: Path, values: dict[str, object], says: str) -> None:
    path = Path("data/dataset_info.json")
    info = json.loads(path.read_text()) | {"folder": {"file_name": "."}}
    path.write_text(json.dumps(info))
    _change(config, **values)
    with pytest.raises(UserError, match=says):
        _plan(config)


@pytest.mark.parametrize(("text", "says"), [("{", "is no JSON"), ("[]", "must be a JSON object")])
def test_a_list_of_data_sets_that_cannot_be_read(config: Path, text: str, says: str) -> None:
    Path("data/dataset_info.json").write_text(text)
    with pytest.raises(UserError, match=says):
        _plan(config)
