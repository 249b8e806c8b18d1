"""Chat models: the built-in small one, local folders and hub names, with adapters merged."""

from gradshield.models.load import DEFAULT_MODEL, LoadedModel, load_model

__all__ = ["DEFAULT_MODEL", "LoadedModel", "load_model"]
