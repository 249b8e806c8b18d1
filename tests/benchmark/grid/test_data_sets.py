"""Data sets that cannot be drawn are refused with the cell, the counts and the mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradshield.benchmark.attacks import ATTACKS
from gradshield.benchmark.grid.data_sets import draw_data_sets
from gradshield.errors import UserError
from tests.benchmark.grid.conftest import small_grid
from tests.tiny_models import chat_tokenizer


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows": 100_000}, r"arithmetic/none/0/0 .* needs 100000 harmless rows, and there are"),
        ({"shares": [0.9], "rows": 400}, r"arithmetic/explicit/0\.9/0 .* needs 360 attack rows"),
    ],
)
def test_too_few_rows_are_named(public: Path, changes: dict[str, object], words: str) -> None:
    config = small_grid(Path("unused")).model_copy(update=changes)
    rows = {name: ATTACKS[name].rows(public) for name in config.attacks}
    with pytest.raises(UserError, match=words) as caught:
        list(draw_data_sets(config, public, chat_tokenizer(), rows))
    assert f"Set rows (now {config.rows})" in str(caught.value)
