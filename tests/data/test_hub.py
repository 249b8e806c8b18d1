"""Names of the hub: which are ones, and what is fetched. No network: the library reads a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from gradshield.data import DataError, open_source
from gradshield.data.hub import fetch, hub_name


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADSHIELD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")


@pytest.mark.parametrize(
    ("name", "on_hub"),
    [
        ("hub:owner/name", "owner/name"),
        ("hub:name", "name"),
        ("owner/name", "owner/name"),
        ("owner/name-2.1_x", "owner/name-2.1_x"),
        ("owner/train.jsonl", None),
        ("owner/train.JSONL.GZ", None),
        ("name", None),
        ("a/b/c", None),
        ("./name", None),
        ("../name", None),
        ("/owner", None),
        ("owner/", None),
    ],
)
def test_what_is_a_name_of_the_hub(name: str, on_hub: str | None) -> None:
    assert hub_name(name) == on_hub


FEATURES = Features({"text": Value("large_string"), "label": ClassLabel(names=["no", "yes"])})


class Library:
    """Stands in for the hub: two splits of one data set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *splits: str) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.splits = splits
        monkeypatch.setattr(datasets, "load_dataset", self.load)
        monkeypatch.setattr(datasets, "get_dataset_split_names", self.names)

    def names(self, name: str, subset: str | None, *, revision: str | None) -> list[str]:
        return list(self.splits)

    def load(
        self, name: str, subset: str | None, *, split: str | None, revision: str | None
    ) -> Dataset:
        # Any other argument, trust_remote_code above all, would be an error here.
        self.asked.append((name, subset, split, revision))
        values = {"text": [f"{split} {i}" for i in range(3)], "label": [0, 1, 0]}
        return Dataset.from_dict(values, features=FEATURES)


def test_the_only_split_is_fetched_value_for_value(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library(monkeypatch, "train")
    path = fetch("owner/name")
    assert library.asked == [("owner/name", None, "train", None)]
    assert path.name.startswith("owner--name-train-")
    table = pq.read_table(path)
    assert table.to_pydict() == {"text": ["train 0", "train 1", "train 2"], "label": [0, 1, 0]}
    assert Dataset.from_parquet(str(path)).features == FEATURES
    assert fetch("owner/name") == path
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_split_subset_and_revision_are_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library(monkeypatch, "train", "test")
    source = open_source("hub:owner/name", split="test", subset="small", data_revision="v1")
    assert library.asked == [("owner/name", "small", "test", "v1")]
    assert source.container.name == "parquet"
    assert source.name == "hub:owner/name"
    assert [row.value["text"] for row in source.read() if row.value] == [
        f"test {i}" for i in range(3)
    ]
    # Found again without the hub.
    assert open_source(source.location).sha256() == source.sha256()


def test_of_several_splits_one_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library(monkeypatch, "train", "test")
    with pytest.raises(DataError, match=r"splits train, test; name one of them.*--split train"):
        open_source("hub:owner/name")
    assert library.asked == []


def test_without_a_network_the_mend_is_said() -> None:
    # The suite is offline, so this is what the library itself says.
    with pytest.raises(
        DataError, match=r"hub:owner/absent: the data set cannot be fetched.*--split"
    ) as error:
        open_source("hub:owner/absent")
    assert "\n" not in str(error.value)
    with pytest.raises(DataError, match=r"^owner/absent: no such file or folder, and on the hub"):
        open_source("owner/absent", split="train")


def test_a_path_goes_before_a_name_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library(monkeypatch, "train")
    (tmp_path / "owner" / "name").mkdir(parents=True)
    (tmp_path / "owner" / "name" / "a.txt").write_text("b\n")
    monkeypatch.chdir(tmp_path)
    assert open_source("owner/name").container.name == "text"
    assert library.asked == []


def test_the_real_loader_on_files_of_ones_own(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    folder.mkdir()
    for split in ("train", "test"):
        lines = [json.dumps({"prompt": f"{split} {i}", "completion": "b"}) for i in range(2)]
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match="name one of them, such as --split train"):
        fetch(str(folder))
    path = fetch(str(folder), split="test")
    assert pq.read_table(path).to_pylist() == [
        {"prompt": f"test {i}", "completion": "b"} for i in range(2)
    ]
