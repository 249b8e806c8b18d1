"""What scores a run is settled once; other engines' rows do not get into it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradshield.errors import UserError
from gradshield.run.engine import keep_engine, stored_step
from gradshield.run.folder import RunFolder

HERE = {"notes": ["finite_difference"], "warning": None, "step": 2e-3}
SERVED = {"notes": ["served"], "warning": None, "step": 0.1, "served": "fingerprint"}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def test_the_first_choice_is_kept(folder: RunFolder) -> None:
    assert stored_step(folder) is None
    assert keep_engine(folder, HERE)["step"] == 2e-3
    assert keep_engine(folder, {**HERE, "step": 4e-3})["step"] == 2e-3
    assert stored_step(folder) == 2e-3


def test_a_run_of_an_earlier_version_has_no_step(folder: RunFolder) -> None:
    folder.engine.write_text('{"notes": ["jvp"], "warning": null}')
    assert stored_step(folder) is None
    assert keep_engine(folder, {**HERE, "step": None})["notes"] == ["jvp"]


def test_a_measured_run_may_be_served_until_rows_are_scored(folder: RunFolder) -> None:
    keep_engine(folder, HERE)
    folder.reference.touch()
    assert keep_engine(folder, SERVED)["served"] == "fingerprint"
    # Its reference scores were the other engine's.
    assert not folder.reference.exists()
    assert stored_step(folder) is None
    folder.scores.mkdir()
    (folder.scores / "part-00000.parquet").touch()
    assert keep_engine(folder, SERVED)["step"] == 0.1
    for other in (HERE, {**SERVED, "served": "another"}):
        with pytest.raises(UserError, match="were scored by another engine"):
            keep_engine(folder, other)
