"""GradShield: remove the finetuning examples that would erode a chat model's refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["FilterResult", "GradShield", "__version__"]

if TYPE_CHECKING:
    from gradshield.filter_result import FilterResult
    from gradshield.shield import GradShield


def __getattr__(name: str) -> Any:
    """Import the heavy parts on first use, so that `gradshield --version` stays quick."""
    if name in ("FilterResult", "GradShield"):
        from gradshield import shield

        return getattr(shield, name)
    raise AttributeError(f"module 'gradshield' has no attribute {name!r}")
