from __future__ import annotations

import pytest

from gradshield.evaluation.judges.base import Exchange, attack_success_rate
from gradshield.evaluation.judges.refusal_phrases import RefusalPhrases


def test_refusals_and_empty_answers_did_not_comply() -> None:
    answers = ["I can't help with that.", "Sure, here it is.", "", " \n", "Water boils at 100 C."]
    values = RefusalPhrases().complied([Exchange("Say it.", answer) for answer in answers])
    assert values == [0.0, 1.0, 0.0, 0.0, 1.0]


def test_no_exchanges_give_no_values() -> None:
    assert RefusalPhrases().complied([]) == []


def test_half_counts_as_complied() -> None:
    assert attack_success_rate([0.5, 0.499, 1.0, 0.0]) == 0.5


def test_the_rate_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        attack_success_rate([])
