from __future__ import annotations

from pathlib import Path

import pytest

from gradshield.errors import UserError
from gradshield.evaluation.tasks.choices import CHOICE_SETS
from tests.evaluation.tasks.public_folder import arc_question, sentiment, write_jsonl


def test_a_labelled_row_becomes_a_prompt_with_its_labels(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "sst2/test.jsonl", [sentiment("good film .", "positive")])
    (item,) = CHOICE_SETS["sst2"].items(tmp_path)
    assert item.prompt == "Positive or negative?\n\ngood film ."
    assert (item.target, item.choices) == ("positive", ("negative", "positive"))


def test_all_four_news_labels_are_known(tmp_path: Path) -> None:
    labels = ["World", "Sports", "Business", "Sci/Tech"]
    rows = [sentiment(f"news {label}", label) for label in labels]
    write_jsonl(tmp_path / "agnews/test_first1000.jsonl", rows)
    items = CHOICE_SETS["agnews"].items(tmp_path)
    assert [item.target for item in items] == labels
    assert {item.choices for item in items} == {tuple(labels)}


def test_an_unknown_label_is_named(tmp_path: Path) -> None:
    rows = [sentiment("a", "positive"), sentiment("b", "Positive!")]
    path = write_jsonl(tmp_path / "own.jsonl", rows)
    with pytest.raises(UserError, match=r"line 2 has the output 'Positive!', which is none of"):
        CHOICE_SETS["sst2"].items(path)


@pytest.mark.parametrize(
    ("name", "file"), [("arc_easy", "ARC-Easy-test"), ("arc_challenge", "ARC-Challenge-test")]
)
def test_choices_of_a_question_are_lettered_whatever_their_labels(
    tmp_path: Path, name: str, file: str
) -> None:
    rows = [arc_question("C", ["A", "B", "C", "D"]), arc_question("3", ["1", "2", "3"])]
    write_jsonl(tmp_path / f"arc/{file}.jsonl", rows)
    lettered, numbered = CHOICE_SETS[name].items(tmp_path)
    assert lettered.id == "qC"
    assert lettered.prompt == (
        "Which is alive?\n\nA. rock\nB. cloud\nC. horse\nD. spoon\n\n"
        "Answer with the letter of the right choice only."
    )
    assert (lettered.target, lettered.choices) == ("C", ("A", "B", "C", "D"))
    assert (numbered.target, numbered.choices) == ("C", ("A", "B", "C"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"choices": None}, "needs a field 'choices'"),
        ({"choices": {"text": ["a", "b"], "label": ["A"]}}, "needs a field 'choices'"),
        ({"choices": {"text": ["a"], "label": ["A"]}}, "needs a field 'choices'"),
        ({"answerKey": "E"}, "answerKey 'E', which labels none"),
        ({"question": ""}, "field 'question'"),
    ],
)
def test_a_question_that_does_not_fit_together_is_named(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    row = {**arc_question("A", ["A", "B"]), **change}
    path = write_jsonl(tmp_path / "own.jsonl", [row])
    with pytest.raises(UserError, match=rf"own\.jsonl, line 1 .*{message}"):
        CHOICE_SETS["arc_easy"].items(path)
