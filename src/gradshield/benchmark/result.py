"""The result of a study: raw rows, bars, and what made it."""

from __future__ import annotations

import operator
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from gradshield.reporting.charts import Chart, write_chart
from gradshield.run.folder import write_json
from gradshield.run.provenance import hardware, versions

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True)
class Bar:
    """A figure that a study has to reach.

    Attributes:
        name: What is measured.
        value: The measured value.
        comparison: `<=` or `>=`.
        limit: What the value is compared with.
    """

    name: str
    value: float
    comparison: str
    limit: float

    @property
    def holds(self) -> bool:
        """Whether the value reaches the limit; computed, never typed."""
        return _COMPARISONS[self.comparison](self.value, self.limit)

    def as_json(self) -> dict[str, Any]:
        """The bar as it stands in a result file."""
        return {
            "name": self.name,
            "value": self.value,
            "target": f"{self.comparison} {self.limit}",
            "holds": self.holds,
        }


@dataclass(frozen=True)
class StudyResult:
    """Raw rows and bars of a study, the seeds it used, and charts by name."""

    rows: Sequence[dict[str, Any]]
    bars: Sequence[Bar]
    seeds: Sequence[int] = field(default=(0,))
    charts: Mapping[str, Chart] = field(default_factory=dict)


def write_result(path: Path, run_study: Callable[[], StudyResult]) -> StudyResult:
    """Run a study and write its result file with command, commit, versions and hardware.

    Its charts lie beside it, called after the file and the chart.
    """
    record = made_by()
    clock = time.perf_counter()
    result = run_study()
    write_json(
        path,
        {
            **record,
            "seeds": list(result.seeds),
            "seconds": round(time.perf_counter() - clock, 1),
            "rows": list(result.rows),
            "bars": [bar.as_json() for bar in result.bars],
        },
    )
    for name, chart in result.charts.items():
        write_chart(chart, path.with_name(f"{path.stem}-{name}.svg"))
    return result


def made_by() -> dict[str, Any]:
    """Command, commit, versions, hardware and time: what every result file begins with."""
    return {
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "commit": _commit(),
        "versions": versions(),
        "hardware": hardware(),
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _commit() -> str | None:
    """The commit of the working tree that the program runs from, marked when it is modified."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return outcome.stdout.strip() or None
