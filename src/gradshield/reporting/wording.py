"""Figures in words, the same in every form of the report."""

from __future__ import annotations

from gradshield.reporting.document import ReportHead


def number(value: float | None) -> str:
    """A score or a threshold, with its sign."""
    if value is None:
        return "none"
    return f"{value:+.4f}".replace("-", "\N{MINUS SIGN}")


def percent(part: float, whole: float = 1.0) -> str:
    """A share in percent; one that is not zero never reads as zero."""
    share = 0.0 if whole == 0 else part / whole
    if 0 < share < 0.0005:
        return "<0.1 %"
    return f"{100 * share:.1f} %"


def sentence(document: ReportHead) -> str:
    """What was decided, in one sentence with figures."""
    counts, decision = document.counts, document.decision
    removed = (
        f"Of {_rows(counts.rows)} of {file_name(document)}, {counts.removed:,} "
        f"({percent(counts.removed, counts.rows)}) are removed"
    )
    if decision.threshold is None:
        rule = f": the rule {decision.method} found no threshold to remove rows at"
    else:
        rule = f": they score at or above {number(decision.threshold)}, the threshold of the rule "
        rule += decision.method
    if counts.overruled:
        changed = _rows(counts.overruled)
        rule += f", but for {changed} that reviewers decided otherwise"
    rejected = f", {counts.rejected:,} could not be scored" if counts.rejected else ""
    return f"{removed}{rule}. {counts.kept:,} are kept{rejected}."


def file_name(document: ReportHead) -> str:
    """Name of the data file without its folder."""
    return document.run.data.replace("\\", "/").rstrip("/").rpartition("/")[2]


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def visible(text: str) -> str:
    """Text with characters that cannot be seen, or that turn the direction, by their names."""
    return "".join(c if c.isprintable() else f"U+{ord(c):04X}" for c in text)
