from __future__ import annotations

from gradshield.probes.prompt_sets import load_prompts
from gradshield.probes.proxies import OwnAnswers
from gradshield.scoring.reference import reference_examples
from tests.tiny_models import answer, tiny_loaded


def test_reference_rows_are_refusals_ordinary_answers_and_scary_ones() -> None:
    loaded = tiny_loaded()
    refusal, complied = answer("I can't help with that."), answer("Sure, here it is: no.")
    ordinary, silent = answer("The Loire."), answer("", finished=False)
    examples = reference_examples(
        loaded, OwnAnswers(harmful=[refusal, complied], ordinary=[ordinary, silent])
    )
    # The split `align` was trained on and `test` is left for final measurements.
    scary = [
        prompt
        for split in ("probe", "validation")
        for prompt in load_prompts("harmless_but_scary", split)
    ]
    assert [example.row for example in examples] == list(range(2 + len(scary)))
    texts = [
        loaded.tokenizer.decode(
            [t for t, kept in zip(e.input_ids, e.response_mask, strict=True) if kept]
        )
        for e in examples
    ]
    # Neither the answer that complies nor the empty one is a reference.
    assert texts[:2] == ["I can't help with that.<|im_end|>", "The Loire.<|im_end|>"]
    assert sorted(texts[2:]) == sorted(f"{prompt.answer}<|im_end|>" for prompt in scary)
