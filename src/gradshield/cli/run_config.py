"""From the options of the command line to a checked configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gradshield.config import RunConfig
from gradshield.errors import UserError


def build_config(data: Path, **options: Any) -> RunConfig:
    """Make the configuration of a run.

    Args:
        data: The data file.
        options: `model`, `adapter`, `revision`, … as the commands name them.

    Raises:
        UserError: An option has a value that it cannot have; the text names it.
    """
    adapter = options["adapter"]
    try:
        return RunConfig.model_validate(
            {
                "data_path": str(data),
                "model": {
                    "name": options["model"],
                    "adapter": None if adapter is None else str(adapter),
                    "revision": options["revision"],
                    "dtype": options["dtype"],
                    "device": options["device"],
                    "trust_remote_code": options["trust_remote_code"],
                },
                "data": {name: options[name] for name in ("format", "response", "max_length")},
                "scoring": {
                    name: options[name]
                    for name in ("proxy", "modules", "remove_benign", "engine", "batch_tokens")
                },
                "threshold": {name: options[name] for name in ("rule", "level", "seed")},
                "on_reject": options["on_reject"],
            }
        )
    except ValidationError as fault:
        first = fault.errors()[0]
        field = "--" + str(first["loc"][-1]).replace("_", "-")
        raise UserError(f"{field} {first['input']}: {first['msg']}.") from fault
