"""Put the filter in front of a trainer: from its own configuration to one that reads kept rows."""

from __future__ import annotations

from gradshield.hooks.axolotl import AxolotlHook
from gradshield.hooks.base import Filtering, Hook, HookSettings, Plan
from gradshield.hooks.llamafactory import LlamaFactoryHook

HOOKS: dict[str, Hook] = {hook.name: hook for hook in (AxolotlHook(), LlamaFactoryHook())}

__all__ = ["HOOKS", "Filtering", "Hook", "HookSettings", "Plan"]
