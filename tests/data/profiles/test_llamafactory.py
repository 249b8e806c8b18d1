"""Masks of the LLaMA-Factory profile against those of LLaMA-Factory 0.9.5 itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from gradshield.data import Rejection
from gradshield.data.profiles.llamafactory.config import read_llamafactory
from tests.data.profiles.cases import Case
from tests.data.profiles.golden import assert_same, golden_cases, ours, trained


@pytest.mark.parametrize("case", golden_cases("llamafactory"))
def test_masks_are_those_of_llamafactory(case: Case, tmp_path: Path) -> None:
    info = tmp_path / "dataset_info.json"
    info.write_text(json.dumps({"rows": case["dataset_info"]}), encoding="utf-8")
    training = tmp_path / "sft.yaml"
    training.write_text(yaml.safe_dump(case["training"]), encoding="utf-8")
    given = read_llamafactory(info, "rows", training)
    arguments = (given.profile, case["row"], case["tokenizer"], given.max_length)
    if not trained(case["golden"]):
        with pytest.raises(Rejection):
            ours(*arguments)
        return
    assert_same(ours(*arguments), case["golden"])
