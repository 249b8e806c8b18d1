from __future__ import annotations

from dataclasses import replace

from gradshield.config import ScoringSettings
from gradshield.models.usable import embedded_tokens
from gradshield.scoring.engines.per_example import PerExample
from gradshield.scoring.model_lines import lines_by_model
from tests.tiny_models import mixed_examples, random_direction, tiny_loaded


def test_a_token_that_the_model_lacks_is_its_rows_fault_alone() -> None:
    loaded = tiny_loaded()
    direction = random_direction(loaded.model)
    engine = PerExample().prepare(loaded.model, direction, "sum", [])
    score = lines_by_model(loaded, engine, ScoringSettings(reduction="sum"))
    examples = list(mixed_examples())
    known = embedded_tokens(loaded.model)
    foreign = replace(examples[2], input_ids=(*examples[2].input_ids[:-1], known))
    done: list[int] = []
    lines = {
        line["row"]: line
        for line in score([*examples[:2], foreign, *examples[3:]], {2: "x"}, done.append)
    }
    assert sum(done) == len(lines) == len(examples)
    assert lines[2]["id"] == "x"
    assert lines[2]["reason"] == (
        f"unknown_token: it holds the token {known}, for which the model has no embedding: take "
        "the text of this control token out of the row"
    )
    exact = {one.row: one.fihs for one in engine.score(examples)}
    for row in {0, 1, 3, 4, 5, 6}:
        assert abs(lines[row]["fihs"] - exact[row]) < 1e-4 * abs(exact[row])
