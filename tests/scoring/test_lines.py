from __future__ import annotations

from collections.abc import Sequence

import pytest

from gradshield.config import ScoringSettings
from gradshield.data import TokenizedExample, TokenizedPair
from gradshield.scoring.engines import ENGINES, ExampleScore, PreparedEngine
from gradshield.scoring.lines import Rows, reference_for, score_lines, settings_for
from gradshield.scoring.reference import reference_examples, reference_pairs
from tests.tiny_models import chat_example, mixed_examples, random_direction, tiny_loaded

PAIR = TokenizedPair(chat_example(4, "Hi", "Hello"), chat_example(4, "Hi", "No. No."))


def test_each_kind_is_scored_by_its_own_settings_and_reference() -> None:
    loaded = tiny_loaded()
    settings = ScoringSettings(reduction="root")
    assert settings_for(mixed_examples(), settings) is settings
    assert settings_for([PAIR], settings).reduction == "sum"
    assert settings_for([], settings) is settings
    assert reference_for(mixed_examples(), loaded) == reference_examples(loaded)
    assert reference_for([PAIR], loaded) == reference_pairs(loaded)


def test_lines_of_a_pair_are_the_difference_of_the_lines_of_its_sides() -> None:
    loaded = tiny_loaded()
    settings = settings_for([PAIR], ScoringSettings(engine="jvp", beta=0.4))
    engine = ENGINES["jvp"].prepare(
        loaded.model, random_direction(loaded.model), settings.reduction, mixed_examples()
    )
    chosen, rejected = (
        score_lines(loaded, [side], engine, settings, ids={4: "own"})[0]
        for side in (PAIR.chosen, PAIR.rejected)
    )
    found = score_lines(loaded, [PAIR], engine, settings, ids={4: "own"})
    assert len(found) == 1
    assert found[0]["id"] == "own"
    assert found[0]["fihs"] == pytest.approx(0.2 * (chosen["fihs"] - rejected["fihs"]))
    assert found[0]["loss"] == pytest.approx(chosen["loss"])
    assert found[0]["token_ids"] == chosen["token_ids"] + rejected["token_ids"]
    assert chosen["chosen_tokens"] is None
    assert found[0]["chosen_tokens"] == chosen["response_tokens"]


@pytest.mark.parametrize("rows", [mixed_examples(), [PAIR]], ids=["plain", "preferences"])
def test_batches_are_of_the_size_that_is_set(rows: Rows) -> None:
    sizes: list[int] = []

    def score(batch: Sequence[TokenizedExample]) -> list[ExampleScore]:
        sizes.append(len(batch))
        return [ExampleScore(example.row, 0.0, 0.0, (0.0,)) for example in batch]

    loaded, settings = tiny_loaded(), ScoringSettings(batch_tokens=1)
    score_lines(loaded, rows, PreparedEngine(score), settings, ids={})
    assert sizes == [1] * (len(rows) if rows[0] is not PAIR else 2)
