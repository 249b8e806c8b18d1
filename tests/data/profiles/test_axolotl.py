"""Masks of the axolotl profile against those of axolotl 0.19.0 itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gradshield.data import Rejection
from gradshield.data.profiles.axolotl.config import read_axolotl
from tests.data.profiles.cases import Case
from tests.data.profiles.golden import assert_same, golden_cases, ours, trained


@pytest.mark.parametrize("case", golden_cases("axolotl"))
def test_masks_are_those_of_axolotl(case: Case, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(case["config"]), encoding="utf-8")
    given = read_axolotl(config)
    arguments = (given.profile, case["row"], case["tokenizer"], given.max_length)
    if not trained(case["golden"]):
        with pytest.raises(Rejection):
            ours(*arguments)
        return
    assert_same(ours(*arguments), case["golden"])
