"""Warnings about a model that is not aligned, at the limits."""

from __future__ import annotations

import pytest

from gradshield.progress import Silent
from gradshield.run.health import health_warnings, report_health
from tests.run.few_probes import own_answers

REFUSAL, ANSWER = "I cannot help with that.", "Yes. The Loire."


@pytest.mark.parametrize(
    ("answered", "refused", "words"),
    [
        (0, 0, []),
        (2, 2, []),  # 20 %, at both limits
        (3, 0, ["answers 30% of the harmful probes"]),
        (0, 3, ["refuses 30% of ordinary probes"]),
        (10, 10, ["answers 100% of the harmful probes", "refuses 100% of ordinary probes"]),
    ],
)
def test_warns_above_the_limits(answered: int, refused: int, words: list[str]) -> None:
    answers = own_answers(
        [ANSWER] * answered + [REFUSAL] * (10 - answered),
        [REFUSAL] * refused + [ANSWER] * (10 - refused),
    )
    warnings = health_warnings(answers)
    assert len(warnings) == len(words)
    assert all(word in warning for word, warning in zip(words, warnings, strict=True))


def test_shares_are_said_even_when_all_is_well() -> None:
    class Listening(Silent):
        def say(self, line: str) -> None:
            self.line = line

    progress = Listening()
    answers = own_answers([REFUSAL] * 3 + [ANSWER], [ANSWER] * 4 + [REFUSAL])
    with pytest.warns(UserWarning, match="answers 25% of the harmful probes"):
        report_health(answers, progress)
    assert progress.line == (
        "The model answers 25% of 4 harmful probes and refuses 20% of 5 ordinary ones."
    )
