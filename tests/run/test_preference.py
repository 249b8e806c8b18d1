"""Preference rows through a whole run: found out, scored, decided, written and told of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradshield import GradShield
from gradshield.config import RunConfig, SearchSettings, ThresholdSettings
from gradshield.errors import UserError
from gradshield.finetuning.supervised import TrainingSettings
from gradshield.models.load import LoadedModel
from gradshield.progress import Silent
from gradshield.run.filter import filter_data
from gradshield.run.finetune import finetune_data
from gradshield.run.folder import RunFolder
from gradshield.run.score import score
from gradshield.run.threshold import read_reference
from gradshield.scoring.reference import reference_pairs
from tests.run.data_files import ANSWERS, split_file, write_jsonl
from tests.run.score_lines import score_lines

pytestmark = pytest.mark.filterwarnings("ignore:This model answers")

RULE = ThresholdSettings(rule="calibrated", level=0.5)
PLAIN = {"prompt": "Name a river.", "completion": "The Loire."}


def rows() -> list[dict[str, Any]]:
    """In turn in three shapes; rows 5 and 9 cannot be scored."""
    made: list[dict[str, Any]] = []
    for number in range(14):
        question, chosen, rejected = (
            f"Name river {number}.",
            ANSWERS[number % 7],
            ANSWERS[(number + 2) % 7] + "!" * number,
        )
        if number % 2:  # scores of both signs, so that a threshold near 0 has rows on either side
            chosen, rejected = rejected, chosen
        shapes: list[dict[str, Any]] = [
            {"id": number, "prompt": question, "chosen": chosen, "rejected": rejected},
            {
                "chosen": [_turn("user", question), _turn("assistant", chosen)],
                "rejected": [_turn("user", question), _turn("assistant", rejected)],
            },
            {
                "conversations": [{"from": "human", "value": question}],
                "chosen": {"from": "gpt", "value": chosen},
                "rejected": {"from": "gpt", "value": rejected},
            },
        ]
        made.append(shapes[number % 3])
    made[5] = PLAIN
    made[9] = {**made[9], "rejected": None}
    return made


def _turn(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def config(data: Path, model_folder: Path, **fields: Any) -> RunConfig:
    model = {"name": str(model_folder), "dtype": "float32", "device": "cpu"}
    values = {"data_path": str(data), "model": model, "threshold": RULE.model_dump(), **fields}
    return RunConfig.model_validate(values)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, model_folder: Path, _few_probes: None) -> Path:
    scratch = tmp_path_factory.mktemp("preference")
    data = write_jsonl(scratch / "data.jsonl", rows())
    filter_data(config(data, model_folder), RunFolder(scratch / "run"), Silent())
    return scratch


def test_every_row_is_in_one_file_as_it_came(run: Path) -> None:
    folder = RunFolder(run / "run")
    lines = split_file(run / "data.jsonl")
    scored = [line for line in score_lines(folder) if line["status"] == "scored"]
    limit = json.loads(folder.decision.read_text())["threshold"]
    removed = [line["row"] for line in scored if line["fihs"] >= limit]
    kept = [line["row"] for line in scored if line["fihs"] < limit]
    assert removed
    assert kept
    for name, expected in (("kept", kept), ("removed", removed), ("rejected", [5, 9])):
        assert split_file(folder.output(name, ".jsonl")) == [lines[row] for row in expected]
    rejections = json.loads(folder.rejections.read_text())
    assert {entry["row"]: entry["reason"] for entry in rejections} == {
        5: "plain_row",
        9: "missing_side",
    }


def test_lines_add_up_and_tell_the_answers_apart(run: Path) -> None:
    for line in score_lines(RunFolder(run / "run")):
        if line["status"] == "scored":
            assert 0 < line["chosen_tokens"] < line["response_tokens"]
            assert len(line["token_fihs"]) == len(line["token_ids"]) == line["response_tokens"]
            assert sum(line["token_fihs"]) == pytest.approx(line["fihs"], rel=1e-9, abs=1e-12)


def test_the_reference_is_one_of_preferences(run: Path, loaded: LoadedModel) -> None:
    reference = read_reference(RunFolder(run / "run"))
    assert reference is not None
    assert len(reference) == len(reference_pairs(loaded))


def test_the_run_says_what_its_scores_are(run: Path) -> None:
    folder = RunFolder(run / "run")
    summary = folder.summary.read_text(encoding="utf-8")
    assert "The rows are preferences: FIHS is that of the DPO loss (beta 0.1)" in summary
    assert json.loads(folder.engine.read_text())["preference"] in summary
    identity = json.loads(folder.provenance.read_text())["identity"]
    assert (identity["preference_loss"], identity["beta"]) == ("dpo", 0.1)


def test_plain_runs_say_nothing_of_preferences(model_folder: Path, tmp_path: Path) -> None:
    plain = [{**PLAIN, "completion": "Yes" + "!" * number} for number in range(3)]
    folder = RunFolder(tmp_path / "run")
    filter_data(config(write_jsonl(tmp_path / "d.jsonl", plain), model_folder), folder, Silent())
    assert "preference rows" not in folder.summary.read_text(encoding="utf-8")
    assert json.loads(folder.engine.read_text())["preference"] is None


def test_the_python_interface_gives_the_same(run: Path, loaded: LoadedModel) -> None:
    folder = RunFolder(run / "run")
    shield = GradShield(loaded.model, loaded.tokenizer, threshold=RULE)
    result = shield.filter(rows())
    lines = score_lines(folder)
    for one, other in zip(result.scores, lines, strict=True):
        assert one["reason"] == other["reason"]
        assert one["chosen_tokens"] == other["chosen_tokens"]
        if one["status"] == "scored":
            assert one["fihs"] == pytest.approx(other["fihs"], rel=1e-4, abs=1e-7)
    decision = json.loads(folder.decision.read_text())
    assert result.decision.threshold == pytest.approx(decision["threshold"], rel=1e-4)
    assert len(result.kept) == decision["kept"]
    # One shield serves both kinds, each with its own reference.
    plain = shield.filter([{**PLAIN, "completion": answer} for answer in ANSWERS])
    assert all(line["chosen_tokens"] is None for line in plain.scores)
    assert len(shield.reference) != len(shield.preference_reference)


def test_ipo_takes_means(run: Path, model_folder: Path, tmp_path: Path) -> None:
    scoring = {"preference_loss": "ipo", "beta": 0.5, "engine": "jvp"}
    folder = RunFolder(tmp_path / "run")
    score(config(run / "data.jsonl", model_folder, scoring=scoring), folder, Silent())
    # By hand from the sums of the DPO run: beta / 2 = 0.05 there, 1 / beta = 2 here.
    for one, other in zip(score_lines(folder), score_lines(RunFolder(run / "run")), strict=True):
        if one["status"] == "scored":
            first, tokens = other["chosen_tokens"], np.array(other["token_fihs"]) / 0.05
            expected = 2 * (tokens[:first].mean() + tokens[first:].mean())
            assert one["fihs"] == pytest.approx(expected, rel=5e-3, abs=1e-3)


def test_a_search_is_refused_before_anything_is_scored(
    run: Path, model_folder: Path, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run")
    wanted = config(run / "data.jsonl", model_folder, search=SearchSettings())
    with pytest.raises(UserError, match="--search finetunes on plain rows"):
        score(wanted, folder, Silent())
    assert not folder.path.exists()


def test_finetuning_on_them_is_refused(run: Path, model_folder: Path, tmp_path: Path) -> None:
    wanted = config(run / "data.jsonl", model_folder)
    with pytest.raises(UserError, match="holds preference rows, and `finetune` trains on rows"):
        finetune_data(wanted, TrainingSettings(learning_rate=1e-3), tmp_path / "out", Silent())


def test_an_engine_that_weighs_gradients_is_refused_at_once(
    run: Path, model_folder: Path, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run")
    wanted = config(run / "data.jsonl", model_folder, scoring={"engine": "per_example_adam"})
    with pytest.raises(UserError, match="cannot score preference rows"):
        score(wanted, folder, Silent())
    assert not folder.path.exists()
