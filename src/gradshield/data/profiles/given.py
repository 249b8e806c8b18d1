"""What a trainer's own configuration says about data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class GivenData:
    """Settings read from a trainer's file.

    Attributes:
        profile: Name and settings of the profile.
        max_length: The trainer's limit in tokens, None if the file does not say.
        data: The data file, None if it is not named or is not on this machine.
    """

    profile: Mapping[str, Any]
    max_length: int | None
    data: Path | None
