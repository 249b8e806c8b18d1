from __future__ import annotations

from gradshield.probes.harmless_rows import harmless_rows
from gradshield.scoring.reference import reference_examples
from tests.tiny_models import tiny_loaded


def test_reference_rows_are_the_harmless_rows_that_no_direction_has_seen() -> None:
    loaded = tiny_loaded()
    examples = reference_examples(loaded)
    assert examples == [row.example for row in harmless_rows(loaded.tokenizer, "validation")]
    assert [example.row for example in examples] == list(range(len(examples)))
    seen = {row.example.input_ids for row in harmless_rows(loaded.tokenizer, "probe")}
    assert not seen & {example.input_ids for example in examples}
