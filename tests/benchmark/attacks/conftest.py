"""The invented public data, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmark.attacks.public_folder import write_public_folder


@pytest.fixture(scope="session")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_public_folder(tmp_path_factory.mktemp("public"))
