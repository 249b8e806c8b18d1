"""The trainer profiles, and choosing among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from gradshield.data.errors import DataError
from gradshield.data.profiles.axolotl import AxolotlProfile
from gradshield.data.profiles.base import LabelledTokens, Profile, RowEncoder, RowReader
from gradshield.data.profiles.llamafactory import LlamaFactoryProfile
from gradshield.data.profiles.openai import OpenAIProfile
from gradshield.data.profiles.responses import ResponsesProfile
from gradshield.data.profiles.trl import TrlProfile
from gradshield.data.profiles.unsloth import UnslothProfile

PROFILES: dict[str, type[Profile]] = {
    "responses": ResponsesProfile,
    "trl": TrlProfile,
    "axolotl": AxolotlProfile,
    "llamafactory": LlamaFactoryProfile,
    "unsloth": UnslothProfile,
    "openai": OpenAIProfile,
}

DEFAULT_PROFILE = "responses"

__all__ = [
    "DEFAULT_PROFILE",
    "PROFILES",
    "LabelledTokens",
    "Profile",
    "RowEncoder",
    "RowReader",
    "make_profile",
]


def make_profile(given: Profile | Mapping[str, Any] | str) -> Profile:
    """The profile that is meant by its name, or by its name and settings.

    Raises:
        DataError: There is no such profile, or no such setting, or a setting's value cannot be.
    """
    if isinstance(given, Profile):
        return given
    settings = dict(given) if isinstance(given, Mapping) else {"name": given}
    name = settings.get("name", DEFAULT_PROFILE)
    if not isinstance(name, str) or name not in PROFILES:
        raise DataError(f"unknown profile {name!r}; use one of {', '.join(PROFILES)}")
    try:
        return PROFILES[name].model_validate(settings)
    except ValidationError as fault:
        raise DataError(f"the profile {name}: {_explain(fault, PROFILES[name])}") from fault


def _explain(fault: ValidationError, kind: type[Profile]) -> str:
    errors = fault.errors()
    # Of a value that could be of several types, the error that says most.
    first = next((error for error in errors if error["type"] == "extra_forbidden"), errors[0])
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden" and len(first["loc"]) > 1:
        return f"{first['loc'][0]}: there is no {first['loc'][-1]!r} in it"
    if first["type"] == "extra_forbidden":
        known = ", ".join(sorted({*kind.model_fields} - {"name"})) or "none"
        return f"there is no setting {field!r}; its settings are {known}"
    reason = first["msg"].removeprefix("Value error, ")
    return f"{field}: {reason}" if field else reason
