from __future__ import annotations

from pathlib import Path

import pytest

from gradshield.errors import UserError
from gradshield.evaluation.judges import JUDGES, Exchange, JudgeOptions, make_judge
from gradshield.evaluation.judges.endpoint import EndpointJudge
from gradshield.evaluation.judges.guard import GuardJudge
from tests.tiny_models import save_tiny_model, tiny_loaded


def test_the_phrase_judge_needs_nothing() -> None:
    assert make_judge("refusal_phrases").complied([Exchange("Hi", "I refuse.")]) == [0.0]


def test_the_second_offline_judge_takes_the_aligned_model() -> None:
    judge = make_judge("hidden_states", JudgeOptions(aligned=tiny_loaded))
    (value,) = judge.complied([Exchange("Hi", "Hello")])
    assert judge.name == "hidden_states:tiny"
    assert 0 < value < 1


def test_a_guard_is_loaded_with_its_words(tmp_path: Path) -> None:
    options = JudgeOptions(
        model=str(save_tiny_model(tmp_path)), complied_word="bad", refused_word="ok"
    )
    judge = make_judge("guard", options)
    assert isinstance(judge, GuardJudge)
    assert (judge.complied_word, judge.refused_word) == ("bad", "ok")


def test_an_endpoint_takes_its_address_model_and_key() -> None:
    options = JudgeOptions(model="grader", base_url="http://localhost/v1", key_variable="KEY")
    assert make_judge("endpoint", options) == EndpointJudge("http://localhost/v1", "grader", "KEY")


def test_an_unknown_judge_is_told_the_known_ones() -> None:
    with pytest.raises(UserError, match=f"Unknown judge oracle: .*{', '.join(JUDGES)}"):
        make_judge("oracle")


@pytest.mark.parametrize(
    ("name", "options", "wanted"),
    [
        ("classifier", JudgeOptions(), "folder or hub name"),
        ("classifier", JudgeOptions(model="somewhere"), "label"),
        ("guard", JudgeOptions(), "folder or hub name"),
        ("endpoint", JudgeOptions(model="grader"), "base_url"),
        ("endpoint", JudgeOptions(base_url="http://localhost"), "model's name"),
    ],
)
def test_a_missing_option_is_named(name: str, options: JudgeOptions, wanted: str) -> None:
    with pytest.raises(UserError, match=wanted):
        make_judge(name, options)
