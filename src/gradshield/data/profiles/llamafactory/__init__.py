"""The LLaMA-Factory profile; `config` reads its settings from the user's own files."""

from gradshield.data.profiles.llamafactory.profile import LlamaFactoryProfile

__all__ = ["LlamaFactoryProfile"]
