"""The tiny model and the few probes of the tests of `gradshield.run`."""

from __future__ import annotations

from tests.run.conftest import _few_probes, loaded, model_folder

__all__ = ["_few_probes", "loaded", "model_folder"]
