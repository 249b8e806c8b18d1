"""What a review server serves, before it is served."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradshield.errors import UserError
from gradshield.reporting.page import REVIEW_MARKER
from gradshield.run.folder import RunFolder
from gradshield.run.review import open_site
from tests.run.run_folders import made_run


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = made_run(tmp_path)
    folder.page.write_text(f"<html><head>{REVIEW_MARKER}</head></html>")
    return folder


def test_a_run_without_a_page_or_with_one_that_cannot_save(folder: RunFolder) -> None:
    (folder.path / "report.html").write_text("<html></html>")
    with pytest.raises(UserError, match="cannot save marks"):
        open_site(folder, "Ada")
    (folder.path / "report.html").unlink()
    with pytest.raises(UserError, match="gradshield report"):
        open_site(folder, "Ada")


@pytest.mark.parametrize("name", ["", "  ", "x" * 201, "\udcff"])
def test_what_is_no_name(folder: RunFolder, name: str) -> None:
    with pytest.raises(UserError, match="--reviewer"):
        open_site(folder, name)


def test_each_site_has_a_token_of_its_own(folder: RunFolder) -> None:
    assert open_site(folder, "Ada").token != open_site(folder, "Ada").token
