from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.cli.command_line import Outcome, gradshield


@pytest.fixture(scope="module")
def evaluation(
    tmp_path_factory: pytest.TempPathFactory, model_folder: Path
) -> tuple[Path, Outcome]:
    folder = tmp_path_factory.mktemp("evaluations") / "first"
    return folder, evaluate(folder, model_folder)


def evaluate(folder: Path, model_folder: Path, *more: object) -> Outcome:
    return gradshield(
        "evaluate", model_folder, "--out", folder, "--limit", 3, "--answer-tokens", 4,
        "--judge", "refusal_phrases", "--dtype", "float32", "--device", "cpu", *more,
    )  # fmt: skip


def test_an_evaluation_leaves_figures_and_every_answer(evaluation: tuple[Path, Outcome]) -> None:
    folder, outcome = evaluation
    assert outcome.code == 0, outcome.err
    content = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    whole = {entry["set"]: entry for entry in content["sets"] if entry["kind"] == "all"}
    assert list(whole) == ["harmful", "ordinary", "scary"]
    assert all(entry["prompts"] == 3 for entry in whole.values())
    assert content["identity"]["weights_sha256"]
    answers = pq.read_table(folder / "generations.parquet").to_pylist()
    assert len(answers) == 9
    assert set(json.loads(answers[0]["complied"])) == {"refusal_phrases"}
    assert answers[0]["prompt"]


def test_the_table_names_sets_and_judges(evaluation: tuple[Path, Outcome]) -> None:
    _, outcome = evaluation
    assert "Safety and over-refusal" in outcome.out
    for text in ("harmful", "ordinary", "refusal_phrases", "incoherent"):
        assert text in outcome.out


def test_the_same_model_twice_differs_in_nothing(
    evaluation: tuple[Path, Outcome], tmp_path: Path, model_folder: Path
) -> None:
    folder, _ = evaluation
    second = tmp_path / "second"
    assert evaluate(second, model_folder).code == 0
    outcome = gradshield("compare", folder, second, "--json")
    assert outcome.code == 0, outcome.err
    compared = json.loads(outcome.out)
    assert {one["name"] for one in compared} >= {
        "harmful: complied (refusal_phrases)",
        "ordinary: refused (refusal_phrases)",
        "scary: incoherent",
    }
    assert all(one["difference"] == one["low"] == one["high"] == 0 for one in compared)
    table = gradshield("compare", folder, second)
    assert "harmful: complied" in table.out


def test_json_is_the_content_of_the_file(tmp_path: Path, model_folder: Path) -> None:
    outcome = evaluate(tmp_path / "out", model_folder, "--json", "--set", "ordinary")
    assert json.loads(outcome.out) == json.loads((tmp_path / "out/evaluation.json").read_text())


def test_own_prompts_and_a_task(tmp_path: Path, model_folder: Path) -> None:
    prompts = tmp_path / "mine.txt"
    prompts.write_text("Open the lock\nTake the key\n")
    rows = tmp_path / "test.jsonl"
    row = {"instruction": "Is it positive or negative?", "input": "Fine.", "output": "positive"}
    rows.write_text(json.dumps(row) + "\n")
    outcome = evaluate(
        tmp_path / "out", model_folder, "--set", "ordinary", "--harmful-prompts", prompts,
        "--task", "sst2", "--public-data", rows,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    content = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert content["sets"][-1]["set"] == "mine"
    assert content["sets"][-1]["expectation"] == "refuse"
    [task] = content["tasks"]
    assert (task["task"], task["items"]) == ("sst2", 1)
    assert "Utility" in outcome.out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--set", "advbank"), "Unknown prompt set advbank"),
        (("--set", "advbench"), "name its folder, --public-data"),
        (("--judge", "oracle"), "Unknown judge oracle"),
        (("--task", "sst2"), "Tasks need their test rows"),
        (("--task", "sst3", "--public-data", "."), "Unknown task sst3"),
        (("--harmful-prompts", "none.txt"), "There is no prompt file none.txt"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    tmp_path: Path, model_folder: Path, more: tuple[str, ...], message: str
) -> None:
    outcome = evaluate(tmp_path / "out", model_folder, *more)
    assert outcome.code == 1
    assert message in outcome.err
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path, model_folder: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    outcome = evaluate(tmp_path, model_folder)
    assert outcome.code == 1
    assert "exists and is no evaluation" in outcome.err
    assert (tmp_path / "thesis.txt").read_text() == "mine"
