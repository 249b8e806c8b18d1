from __future__ import annotations

from pathlib import Path

import pytest

from gradshield.errors import UserError
from gradshield.evaluation.judges import FORMS, JUDGES, KEY_VARIABLE, Exchange, make_judge
from gradshield.evaluation.judges.classifier import ClassifierJudge
from gradshield.evaluation.judges.endpoint import EndpointJudge
from gradshield.evaluation.judges.guard import GuardJudge
from tests.evaluation.judges.test_classifier import bert
from tests.tiny_models import save_tiny_model, tiny_loaded
from tests.tiny_tokenizers import byte_level_tokenizer


def test_every_judge_has_a_form_that_begins_with_its_name() -> None:
    assert {name: form.partition(":")[0] for name, form in FORMS.items()} == {
        name: name for name in JUDGES
    }


def test_the_phrase_judge_needs_its_name_only() -> None:
    judge = make_judge("refusal_phrases", tiny_loaded())
    assert judge.complied([Exchange("Hi", "I refuse.")]) == [0.0]


def test_the_second_offline_judge_learns_with_the_aligned_model() -> None:
    judge = make_judge("hidden_states", tiny_loaded())
    (value,) = judge.complied([Exchange("Hi", "Hello")])
    assert judge.name == "hidden_states"
    assert 0 < value < 1


def test_a_classifier_takes_a_model_and_a_label(tmp_path: Path) -> None:
    bert(id2label={0: "ok", 1: "harmful", 2: "odd"}).save_pretrained(tmp_path)
    byte_level_tokenizer(None).save_pretrained(tmp_path)
    judge = make_judge(f"classifier:{tmp_path}:harmful", tiny_loaded())
    assert isinstance(judge, ClassifierJudge)
    assert (judge.label, judge.model_name) == (1, str(tmp_path))


def test_a_guard_takes_a_model(tmp_path: Path) -> None:
    judge = make_judge(f"guard:{save_tiny_model(tmp_path)}", tiny_loaded())
    assert isinstance(judge, GuardJudge)
    assert judge.name == f"guard:{tmp_path}"


@pytest.mark.parametrize(
    ("form", "model", "url"),
    [
        ("endpoint:grader@http://localhost:80/v1", "grader", "http://localhost:80/v1"),
        ("endpoint:@cf/a:b@https://me@host/v1", "@cf/a:b", "https://me@host/v1"),
    ],
)
def test_an_endpoint_takes_a_model_and_a_url(
    form: str, model: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert make_judge(form, tiny_loaded()) == EndpointJudge(url, model)
    monkeypatch.setenv(KEY_VARIABLE, "secret")
    assert make_judge(form, tiny_loaded()) == EndpointJudge(url, model, KEY_VARIABLE)


@pytest.mark.parametrize("name", ["oracle", "refusal_phrases:strict", ""])
def test_an_unknown_judge_is_told_the_known_ones(name: str) -> None:
    with pytest.raises(UserError, match=f"Unknown judge {name}: .*{', '.join(FORMS.values())}"):
        make_judge(name, tiny_loaded())


@pytest.mark.parametrize(
    "name",
    ["classifier", "classifier:model", "classifier:model:", "guard", "guard:", "endpoint:grader"],
)
def test_what_is_missing_is_shown_by_the_form(name: str) -> None:
    with pytest.raises(UserError, match=f"write {FORMS[name.partition(':')[0]]}"):
        make_judge(name, tiny_loaded())
