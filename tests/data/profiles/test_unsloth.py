"""Masks of the Unsloth profile against those of unsloth_zoo 2026.10.9 itself."""

from __future__ import annotations

import pytest

from gradshield.data import Rejection
from tests.data.profiles.cases import Case
from tests.data.profiles.golden import assert_same, golden_cases, ours, trained


@pytest.mark.parametrize("case", golden_cases("unsloth_zoo"))
def test_masks_are_those_of_unsloth(case: Case) -> None:
    profile = {"name": "unsloth", **case["arguments"]}
    arguments = (profile, case["row"], case["tokenizer"], case["max_length"])
    if not trained(case["golden"]):
        with pytest.raises(Rejection):
            ours(*arguments)
        return
    assert_same(ours(*arguments), case["golden"])
