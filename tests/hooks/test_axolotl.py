"""What is read from an axolotl configuration, and what the new one says. No model is needed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gradshield.errors import UserError
from gradshield.hooks import HOOKS, HookSettings, Plan
from tests.hooks.configurations import AXOLOTL, axolotl_folder
from tests.run.data_files import good_rows, write_jsonl


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    axolotl_folder(tmp_path, Path("model"))
    return Path("train.yaml")


def _plan(config: Path, **settings: object) -> Plan:
    new = Path("train.gradshield.yaml")
    return HOOKS["axolotl"].plan(config, new, HookSettings(**settings))  # type: ignore[arg-type]


def _with_datasets(config: Path, datasets: object) -> None:
    content = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump({**content, "datasets": datasets}))


def test_each_data_file_is_filtered_with_the_model_that_is_trained(config: Path) -> None:
    plan = _plan(config)
    assert [filtering.command for filtering in plan.filterings] == [
        "gradshield filter data/chat.jsonl --out train.gradshield.runs/0-chat "
        "--axolotl train.yaml --dataset data/chat.jsonl --model model",
        "gradshield filter data/more.v2.jsonl --out train.gradshield.runs/1-more "
        "--axolotl train.yaml --dataset data/more.v2.jsonl --model model",
    ]
    assert plan.notes == ()
    assert plan.train == "axolotl train train.gradshield.yaml"


def test_only_the_paths_are_other_ones(config: Path) -> None:
    [(path, text)] = _plan(config).rewrite("abc").items()
    assert path == Path("train.gradshield.yaml")
    assert text == (
        AXOLOTL.format(model="model")
        .replace("data/chat.jsonl", "train.gradshield.runs/0-chat/kept.jsonl")
        .replace("data/more.v2.jsonl", "train.gradshield.runs/1-more/kept.jsonl")
        .replace("prepared_path:", "prepared_path: last_run_prepared-gradshield-abc")
    )


def test_what_the_user_says_goes_before_the_configuration(config: Path) -> None:
    [first, _] = _plan(
        config, model={"name": "other", "device": "cpu"}, on_reject="keep"
    ).filterings
    assert "--model other --device cpu" in first.command
    assert first.command.endswith("--on-reject keep")


def test_an_adapter_that_is_trained_on_is_part_of_the_model(config: Path) -> None:
    config.write_text(config.read_text() + "lora_model_dir: ./lora\nrevision_of_model: v2\n")
    model = _plan(config).filterings[0].config.model
    assert (model.adapter, model.revision) == ("./lora", "v2")


def test_rows_are_scored_by_what_axolotl_trains_on(config: Path) -> None:
    config.write_text(config.read_text() + "train_on_inputs: true\n")
    data = _plan(config).filterings[0].config.data
    assert (data.profile.name, data.max_length) == ("axolotl", 256)
    assert data.profile.model_dump()["train_on_inputs"] is True
    answers = _plan(config, only_answers=True).filterings[0]
    assert answers.config.data.profile.name == "responses"
    assert "--max-length 256" in answers.command


def test_a_setting_that_is_not_supported_has_a_way_out(config: Path) -> None:
    config.write_text(config.read_text() + "chat_template: llama3\n")
    with pytest.raises(UserError, match=r"chat_template: llama3 .* --only-answers"):
        _plan(config)
    assert len(_plan(config, only_answers=True).filterings) == 2


@pytest.mark.parametrize("loss", ["dpo", "ipo"])
def test_preferences_are_scored_as_such(config: Path, loss: str) -> None:
    config.write_text(config.read_text() + f"rl: {loss}\n")
    filtering = _plan(config).filterings[0]
    assert filtering.config.scoring.preference_loss == loss
    assert ("--preference-loss ipo" in filtering.command) == (loss == "ipo")


def test_files_named_by_data_files(config: Path) -> None:
    files = ["data/chat.jsonl", "data/more.v2.jsonl"]
    _with_datasets(
        config,
        [
            {"path": "json", "ds_type": "json", "data_files": files},
            {"path": "data", "ds_type": "json", "data_files": files[0]},
        ],
    )
    plan = _plan(config)
    assert [f.config.data_path for f in plan.filterings] == [*files, files[0]]
    [text] = plan.rewrite("abc").values()
    first, second = yaml.safe_load(text)["datasets"]
    assert first["path"] == "json"
    assert first["data_files"] == [
        "train.gradshield.runs/0-chat/kept.jsonl",
        "train.gradshield.runs/1-more/kept.jsonl",
    ]
    assert second == {
        "path": "data",
        "ds_type": "json",
        "data_files": "train.gradshield.runs/2-chat/kept.jsonl",
    }


def test_a_saved_data_set_and_its_split(config: Path) -> None:
    from datasets import Dataset, DatasetDict

    rows = Dataset.from_list([{"prompt": "a", "completion": "b"}])
    rows.save_to_disk("one")
    DatasetDict({"train": rows, "test": rows}).save_to_disk("two")
    entries = [{"path": "one"}, {"path": "two"}, {"path": "two", "split": "test"}]
    _with_datasets(config, entries)
    plan = _plan(config)
    assert [f.config.data_path for f in plan.filterings] == ["one", "two/train", "two/test"]
    [text] = plan.rewrite("abc").values()
    paths = [entry["path"] for entry in yaml.safe_load(text)["datasets"]]
    assert paths[1] == "train.gradshield.runs/1-train/kept_rows"
    _with_datasets(config, [{"path": "two", "split": "valid"}])
    with pytest.raises(UserError, match="no split valid"):
        _plan(config)


@pytest.mark.parametrize(
    ("datasets", "says"),
    [
        (None, "names no `datasets`"),
        ([], "names no `datasets`"),
        ("data/chat.jsonl", "names no `datasets`"),
        ([{"type": "alpaca"}], "datasets.0 has no `path`"),
        (["data/chat.jsonl"], "datasets.0 has no `path`"),
        ([{"path": "some/hub-name"}], "--leave-remote"),
        ([{"path": "data"}], "name them one by one"),
        ([{"path": "json", "data_files": ["data/chat.jsonl", "gone.jsonl"]}], "--leave-remote"),
    ],
)
def test_data_that_cannot_be_filtered(config: Path, datasets: object, says: str) -> None:
    _with_datasets(config, datasets)
    with pytest.raises(UserError, match=says):
        _plan(config)


def test_remote_data_is_left_only_if_asked(config: Path) -> None:
    _with_datasets(config, [{"path": "some/hub-name"}, {"path": "data/chat.jsonl"}])
    plan = _plan(config, leave_remote=True)
    assert "datasets.0 (some/hub-name) is left as it is: its rows are NOT filtered." in plan.notes
    [text] = plan.rewrite("abc").values()
    assert yaml.safe_load(text)["datasets"][0] == {"path": "some/hub-name"}
    _with_datasets(config, [{"path": "some/hub-name"}])
    with pytest.raises(UserError, match="nothing to filter"):
        _plan(config, leave_remote=True)


def test_what_changes_in_meaning_is_told(config: Path) -> None:
    _with_datasets(config, [{"path": "data/chat.jsonl", "split": "train[:50%]"}])
    config.write_text(config.read_text() + "train_on_inputs: true\n")
    assert len(_plan(config).notes) == 1
    split, inputs = _plan(config, only_answers=True).notes
    assert "train[:50%]" in split
    assert "only responses are scored" in inputs


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a\n", "is no configuration"),
        ("", "is no configuration"),
        ("a: [", "cannot be read as YAML"),
        ("a: 1\n---\nb: 2\n", "cannot be read as YAML"),
        ("datasets: [{path: data/chat.jsonl}]", "names no model"),
        ("rl: kto\nbase_model: m\ndatasets: [{path: data/chat.jsonl}]", "rl: kto is not"),
        ("base_model: m\nsequence_len: one\ndatasets: [{path: data/chat.jsonl}]", "max_length"),
        ("lora_model_dir: a,b\nbase_model: m\ndatasets: [{path: data/chat.jsonl}]", "several"),
    ],
)
def test_a_configuration_that_cannot_be_used(config: Path, text: str, says: str) -> None:
    config.write_text(text)
    with pytest.raises(UserError, match=says):
        _plan(config)


def test_a_merged_path_has_to_be_written_out(config: Path) -> None:
    config.write_text(
        "base_model: m\nusual: &u {path: data/chat.jsonl}\ndatasets: [{<<: *u, type: alpaca}]\n"
    )
    with pytest.raises(UserError, match=r"datasets\.0\.path is shared"):
        _plan(config).rewrite("abc")


def test_names_of_run_folders_hold_no_file_type(config: Path) -> None:
    # axolotl finds ".csv" anywhere in a path, and then reads JSON Lines as CSV.
    write_jsonl(Path("data/rows.csv.jsonl"), good_rows(2))
    _with_datasets(config, [{"path": "data/rows.csv.jsonl"}])
    assert _plan(config).filterings[0].run == Path("train.gradshield.runs/0-rows")
