"""A tiny model on disk and few probes, for every test of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gradshield.models.load import LoadedModel, load_model
from tests.run.few_probes import few_probes
from tests.tiny_models import save_tiny_model


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny-chat-model"))


@pytest.fixture(scope="session")
def loaded(model_folder: Path) -> LoadedModel:
    return load_model(str(model_folder), dtype="float32", device="cpu")


@pytest.fixture(scope="module", autouse=True)
def _few_probes() -> Iterator[None]:
    with few_probes():
        yield
