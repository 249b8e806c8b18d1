"""The axolotl profile; `config` reads its settings from the user's own YAML file."""

from gradshield.data.profiles.axolotl.profile import AxolotlProfile

__all__ = ["AxolotlProfile"]
