"""The Python interface gives what the command line gives, for rows in memory."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from gradshield import FilterResult, GradShield
from gradshield.config import DataSettings, ScoringSettings, ThresholdSettings
from gradshield.errors import UserError
from gradshield.models.load import LoadedModel
from tests.cli.command_line import gradshield
from tests.run.conftest import _few_probes, loaded, model_folder
from tests.run.data_files import EMPTY_ANSWER, LONE_SURROGATE, good_rows, write_jsonl

__all__ = ["_few_probes", "loaded", "model_folder"]

RULE = ThresholdSettings(rule="calibrated", level=0.5)
ROWS = [*good_rows(10), EMPTY_ANSWER, *good_rows(24)[10:], LONE_SURROGATE]

pytestmark = pytest.mark.filterwarnings("ignore:This model answers")


@pytest.fixture(scope="module")
def shield(loaded: LoadedModel, _few_probes: None) -> GradShield:
    return GradShield(loaded.model, loaded.tokenizer, threshold=RULE)


@pytest.fixture(scope="module")
def result(shield: GradShield) -> FilterResult:
    return shield.filter(ROWS)


def test_every_row_is_in_exactly_one_part(result: FilterResult) -> None:
    parts = [result.kept, result.removed, result.rejected]
    assert all(isinstance(part, list) and part for part in parts)
    positions = [[ROWS.index(row) for row in part] for part in parts]
    assert sorted(position for part in positions for position in part) == list(range(len(ROWS)))
    assert positions[2] == [10, 25]
    assert all(part == sorted(part) for part in positions)


def test_rows_at_or_above_the_threshold_are_removed(result: FilterResult) -> None:
    above = [
        ROWS[line["row"]]
        for line in result.scores
        if line["status"] == "scored" and line["fihs"] >= result.decision.threshold
    ]
    assert result.removed == above


def test_rows_are_not_modified(shield: GradShield) -> None:
    rows = copy.deepcopy(ROWS[:12])
    kept = shield.filter(rows).kept
    assert rows == ROWS[:12]
    assert all(any(row is own for own in rows) for row in kept)


def test_score_table_is_that_of_a_run(result: FilterResult) -> None:
    assert [line["row"] for line in result.scores] == list(range(len(ROWS)))
    assert result.scores[0]["id"] == "own-0"
    assert result.scores[2]["id"] == "2"
    assert result.scores[10]["reason"].startswith("empty_response: ")
    assert result.scores[25]["reason"].startswith("unencodable_text: ")


def test_decision_equals_that_of_the_command_line(
    result: FilterResult, model_folder: Path, tmp_path: Path
) -> None:
    data = write_jsonl(tmp_path / "data.jsonl", ROWS)
    run = tmp_path / "run"
    outcome = gradshield(
        *("filter", data, "-m", model_folder, "-o", run, "--dtype", "float32"),
        *("--threshold", RULE.rule, "--level", RULE.level),
    )
    assert outcome.code == 0, outcome.err
    decision = json.loads((run / "decision.json").read_text())
    assert decision["threshold"] == pytest.approx(result.decision.threshold, rel=1e-6)
    assert decision["reason"] == result.decision.reason
    counts = (len(result.kept), len(result.removed), len(result.rejected))
    assert (decision["kept"], decision["removed"], decision["rejected"]) == counts
    written = [json.loads(line) for line in (run / "removed.jsonl").read_text().splitlines()]
    assert written == result.removed


def test_a_data_set_comes_back_as_one(shield: GradShield) -> None:
    from datasets import Dataset, Features, Value

    features = Features(
        {"prompt": Value("large_string"), "completion": Value("string"), "weight": Value("float32")}
    )
    columns: dict[str, list[Any]] = {
        "prompt": [f"Name river {number}" for number in range(12)],
        "completion": ["Yes." * (number % 5) for number in range(12)],
        "weight": [number / 8 for number in range(12)],
    }
    whole = Dataset.from_dict(columns, features=features)
    result = shield.filter(whole)
    parts = [result.kept, result.removed, result.rejected]
    assert all(isinstance(part, Dataset) and part.features == features for part in parts)
    rows = [row for part in parts for row in part]
    assert sorted(rows, key=lambda row: row["weight"]) == list(whole)
    assert result.rejected["weight"] == [0.0, 0.625, 1.25]


@pytest.mark.parametrize("format_type", [None, "numpy", "torch", "arrow", "pandas"])
def test_features_formats_and_order_are_those_that_came_in(
    shield: GradShield, format_type: str | None
) -> None:
    from datasets import ClassLabel, Dataset, Features, List, Value

    features = Features(
        {
            "messages": List({"role": Value("string"), "content": Value("large_string")}),
            "label": ClassLabel(names=["a", "b"]),
            "nested": {"weights": List(Value("float32")), "note": Value("null")},
        }
    )
    turns = [{"role": "user", "content": "Name a river"}, {"role": "assistant", "content": ""}]
    rows = [
        {
            "messages": [turns[0], {**turns[1], "content": "Yes. " * (number % 6)}],
            "label": number % 2,
            "nested": {"weights": [number / 8] * (number % 3), "note": None},
        }
        for number in range(16)
    ]
    # Through an indices mapping: what is stored has another order, and rows that are no part.
    chosen = list(range(14, 1, -1))
    whole = Dataset.from_list(rows, features=features).select(chosen)
    result = shield.filter(whole.with_format(format_type))
    parts = (result.kept, result.removed, result.rejected)
    places = [line["row"] for line in result.scores if line["status"] == "rejected"]
    assert places == [chosen.index(number) for number in (12, 6)]
    assert [len(part) > 0 for part in parts] == [True, True, True]
    for part in parts:
        assert part.features == features
        assert part.format["type"] == format_type
        plain_rows = list(part.with_format(None))
        assert plain_rows == [row for row in list(whole) if row in plain_rows]


def test_a_transform_is_what_is_scored(shield: GradShield) -> None:
    from datasets import Dataset

    stored = Dataset.from_dict({"question": ["Name a river"], "reply": ["The Loire."]})
    shown = stored.with_transform(
        lambda batch: {"prompt": batch["question"], "completion": batch["reply"]}
    )
    assert shield.score(stored)[0]["status"] == "rejected"
    assert shield.score(shown)[0]["status"] == "scored"


def test_a_data_set_without_rows(shield: GradShield) -> None:
    from datasets import Dataset, Features, Value

    features = Features({"prompt": Value("string"), "completion": Value("string")})
    result = shield.filter(Dataset.from_dict({"prompt": [], "completion": []}, features=features))
    for part in (result.kept, result.removed, result.rejected):
        assert len(part) == 0
        assert part.features == features


def test_a_list_scores_like_the_data_set_of_its_rows(shield: GradShield) -> None:
    from datasets import Dataset

    rows = [{"prompt": f"Name river {number}", "completion": "Yes."} for number in range(4)]
    assert shield.score(Dataset.from_list(rows)) == shield.score(rows)


def test_the_direction_is_measured_once(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradshield import shield as shield_module

    calls = []
    measure = shield_module.measure_direction

    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(options)
        return measure(*arguments, **options)

    monkeypatch.setattr(shield_module, "measure_direction", counted)
    fresh = GradShield(
        loaded.model,
        loaded.tokenizer,
        scoring=ScoringSettings(
            proxy="token_sets", modules="mlp", reduction="sum", engine="per_example"
        ),
        data=DataSettings(format="prompt_completion"),
    )
    rows = [{"prompt": "Name a river", "completion": "The Loire."}, good_rows(1)[0]]
    lines = fresh.score(rows)
    fresh.score(rows)
    assert len(calls) == 1
    assert calls[0]["proxy_name"] == "token_sets"
    assert all("mlp" in name for name in fresh.direction.tensors)
    assert sum(lines[0]["token_fihs"]) == pytest.approx(lines[0]["fihs"], rel=1e-4)
    assert lines[1]["status"] == "rejected"


def test_an_unaligned_model_is_warned_of(loaded: LoadedModel) -> None:
    fresh = GradShield(loaded.model, loaded.tokenizer)
    with pytest.warns(UserWarning, match="answers 100% of the harmful probes"):
        fresh.score(good_rows(1))


def test_no_rows(shield: GradShield) -> None:
    result = shield.filter([])
    assert (result.kept, result.removed, result.rejected, result.scores) == ([], [], [], [])
    assert result.decision.threshold == float("inf")


def test_a_loaded_model_needs_its_tokenizer(loaded: LoadedModel) -> None:
    with pytest.raises(UserError, match="tokenizer"):
        GradShield(loaded.model)


def test_a_name_is_loaded(model_folder: Path) -> None:
    fresh = GradShield(model_folder)
    assert fresh.loaded.name == str(model_folder)
    assert not fresh.loaded.model.training
    with pytest.raises(UserError, match="no model folder"):
        GradShield("./no-such-folder")


def test_a_row_that_is_no_dict_is_rejected(shield: GradShield) -> None:
    rows: list[Any] = [good_rows(1)[0], "just text", None]
    result = shield.filter(rows)
    assert result.rejected == ["just text", None]
    assert "row 1 is of the type str" in result.scores[1]["reason"]


def test_splits_must_be_chosen(shield: GradShield) -> None:
    from datasets import Dataset, DatasetDict

    splits = DatasetDict({"train": Dataset.from_list(good_rows(1))})
    with pytest.raises(UserError, match="one of the splits train"):
        shield.filter(splits)


def test_weights_are_the_same_before_and_after(shield: GradShield, loaded: LoadedModel) -> None:
    from gradshield.run.provenance import weights_sha256

    before = weights_sha256(loaded.model)
    shield.filter(ROWS)
    assert weights_sha256(loaded.model) == before
    assert loaded.model.training is False
