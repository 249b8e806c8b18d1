from __future__ import annotations

from importlib import import_module
from pathlib import Path

import datasets
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Json, List, Value

from gradshield.data import DataError, open_container
from gradshield.data.containers.datasets_folder import DatasetsFolderContainer
from gradshield.errors import UserError

FOLDER = DatasetsFolderContainer()

FEATURES = Features(
    {
        "messages": List({"role": Value("string"), "content": Value("string")}),
        "label": ClassLabel(names=["no", "yes"]),
        "arguments": Json(),
        "nested": {"x": List(List(Value("int8")))},
    }
)
VALUES = [
    {
        "messages": [{"role": "user", "content": f"q{i}"}],
        "label": i % 2,
        "arguments": [{"city": "Oslo"}, {"isbn": ["000"]}, None][i % 3],
        "nested": {"x": [[i], []]},
    }
    for i in range(6)
]


def made() -> Dataset:
    return Dataset.from_list(VALUES, features=FEATURES)


def test_rows_are_read_as_plain_values(tmp_path: Path) -> None:
    made().with_format("numpy", columns=["label"]).save_to_disk(tmp_path / "saved")
    container = open_container(tmp_path / "saved")
    assert container == FOLDER
    assert container.suffix == ""
    rows = container.read(tmp_path / "saved")
    assert [row.value for row in rows] == VALUES
    assert [(row.position, row.line) for row in rows] == [(i, None) for i in range(6)]


def test_a_saved_selection_is_read_in_its_order(tmp_path: Path) -> None:
    made().select([4, 1]).save_to_disk(tmp_path / "saved")
    assert [row.value for row in FOLDER.read(tmp_path / "saved")] == [VALUES[4], VALUES[1]]


@pytest.mark.parametrize("positions", [[0, 1, 2, 3, 4, 5], [1, 2], [5, 0], []])
def test_a_subset_has_the_same_features_and_values(tmp_path: Path, positions: list[int]) -> None:
    source, target = tmp_path / "saved", tmp_path / "subset"
    made().save_to_disk(source)
    FOLDER.write_subset(source, positions, target)
    after = datasets.load_from_disk(str(target))
    assert after.features == FEATURES
    assert after.data.schema == made().data.schema
    assert after.to_list() == [VALUES[position] for position in positions]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["saved", "subset"]


def test_the_only_split_of_a_dictionary_is_used_and_kept(tmp_path: Path) -> None:
    DatasetDict({"train": made()}).save_to_disk(tmp_path / "saved")
    assert len(FOLDER.read(tmp_path / "saved")) == 6
    FOLDER.write_subset(tmp_path / "saved", [2], tmp_path / "subset")
    after = datasets.load_from_disk(str(tmp_path / "subset"))
    assert after["train"].to_list() == [VALUES[2]]


def test_of_several_splits_one_must_be_named(tmp_path: Path) -> None:
    DatasetDict({"train": made(), "test": made()}).save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match="splits train, test; name one of them"):
        open_container(tmp_path / "saved")
    assert len(FOLDER.read(tmp_path / "saved" / "test")) == 6


def test_an_earlier_subset_is_replaced_but_no_other_folder(tmp_path: Path) -> None:
    source, target, other = tmp_path / "saved", tmp_path / "subset", tmp_path / "other"
    made().save_to_disk(source)
    FOLDER.write_subset(source, [0, 1], target)
    FOLDER.write_subset(source, [3], target)
    assert datasets.load_from_disk(str(target)).to_list() == [VALUES[3]]
    other.mkdir()
    (other / "precious.txt").write_text("mine")
    with pytest.raises(DataError, match="other content is in the way"):
        FOLDER.write_subset(source, [0], other)
    assert (other / "precious.txt").read_text() == "mine"


def test_progress_bars_are_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    made().save_to_disk(tmp_path / "saved")
    # The suite's environment has them off; here they are as a user finds them.
    bars = import_module("datasets.utils.tqdm")
    monkeypatch.setattr(bars, "HF_DATASETS_DISABLE_PROGRESS_BARS", None)
    monkeypatch.setattr(bars, "_hf_datasets_progress_bars_disabled", False)
    FOLDER.write_subset(tmp_path / "saved", [0], tmp_path / "subset")
    assert not datasets.are_progress_bars_disabled()
    assert "Saving" not in capfd.readouterr().err


def test_json_values_are_parsed_at_any_depth(tmp_path: Path) -> None:
    features = Features({"deep": {"list": List({"arguments": Json()})}, "flat": Value("string")})
    values = [
        {"deep": {"list": [{"arguments": {"a": [1]}}, {"arguments": None}]}, "flat": '{"x": 1}'},
        {"deep": {"list": None}, "flat": None},
        {"deep": None, "flat": ""},
    ]
    Dataset.from_list(values, features=features).save_to_disk(tmp_path / "saved")
    assert [row.value for row in FOLDER.read(tmp_path / "saved")] == values


def test_a_damaged_folder_is_refused(tmp_path: Path) -> None:
    made().save_to_disk(tmp_path / "saved")
    next((tmp_path / "saved").glob("*.arrow")).write_bytes(b"not arrow")
    with pytest.raises(DataError, match="cannot be loaded"):
        open_container(tmp_path / "saved")


def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "saved", tmp_path / "subset"
    made().save_to_disk(source)
    FOLDER.write_subset(source, [0], target)

    def fail(_: Dataset, path: Path, **__: object) -> None:
        Path(path).mkdir()
        (Path(path) / "half").write_text("x")
        raise OSError("disk full")

    monkeypatch.setattr(Dataset, "save_to_disk", fail)
    with pytest.raises(UserError, match="subset cannot be written: disk full"):
        FOLDER.write_subset(source, [1], target)
    assert datasets.load_from_disk(str(target)).to_list() == [VALUES[0]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["saved", "subset"]
