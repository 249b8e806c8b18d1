"""Lines that another run has measured, taken over in place of measuring them again.

What a run measured lies in its cache, with the answers of broken models, and stays where it was
made; its results are passed on. With them a filter is added to a table, or a table made whole on
another machine, at the cost of what is new.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from gradshield.benchmark.grid.config import Finetunes, GridConfig
from gradshield.benchmark.grid.lines import (
    CONFIG,
    FINETUNE,
    MADE_BY,
    PLACE,
    RESULTS,
    Line,
    check_columns,
)
from gradshield.errors import UserError

ROWS = ("rows", "most_tokens", "anchors")
MEASURED = (
    *("training", "test_prompts", "validation_prompts", "over_refusal_prompts"),
    *("utility_items", "answer_tokens"),
)
"""Settings of the grid, and of its finetunes, that decide what is measured."""


@dataclass(frozen=True)
class Known:
    """What is known already.

    Attributes:
        lines: By what they are about, see `place`.
        made_by: What measured them, one for each run.
    """

    lines: Mapping[tuple[str, ...], Line] = field(default_factory=dict)
    made_by: Sequence[dict[str, Any]] = ()

    def of(self, wanted: Line) -> Line | None:
        """The known line about the same as a line that is to be measured."""
        return self.lines.get(place(wanted))

    def same_rows(self, wanted: Line, scored: Line) -> Line | None:
        """What is known of a model that was trained on the same rows, whichever filter kept them.

        Shares tell which rows those were only where all harmless ones were kept, with all or none
        of the harmful ones.

        Args:
            wanted: What the line to be measured is about.
            scored: The line of the filter's scores on the same data set.

        Returns:
            The figures of that model as a line about what is wanted; None where none is known.
        """
        kept = _whole_groups(scored)
        found = self._models.get((_model(wanted), kept)) if kept else None
        return found and {**found, **wanted}

    @cached_property
    def _models(self) -> Mapping[tuple[tuple[str, ...], tuple[str, ...]], Line]:
        """Lines of finetuned models by all that decides the model, where the shares tell it."""
        models = [line for line in self.lines.values() if line["level"] == FINETUNE]
        return {(_model(line), kept): line for line in models if (kept := _whole_groups(line))}


def place(line: Mapping[str, Any]) -> tuple[str, ...]:
    """What a line is about, as it stands in a file."""
    return tuple(str(line[name]) for name in PLACE)


def _model(line: Mapping[str, Any]) -> tuple[str, ...]:
    """What decides a finetuned model beside its rows."""
    return tuple(str(line[name]) for name in PLACE if name != "filter")


def _whole_groups(line: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The shares lost and kept, where whole groups were kept, as they stand in a file."""
    values = (line["harmless_lost"], line["harmful_kept"])
    lost, kept = ("" if value is None else str(value) for value in values)
    return (lost, kept) if lost == "0.0" and kept in ("", "0.0", "1.0") else None


def read_known(folders: Iterable[Path], config: GridConfig) -> Known:
    """Read what other runs measured under the settings of a configuration.

    Settings are compared; that the model of a name had the same weights then, nobody can tell.

    Args:
        folders: What `run_grid` wrote; of a line that several have, the first is taken.
        config: What is to be measured.

    Raises:
        UserError: A folder holds no results, or they were measured under other settings.
    """
    lines: dict[tuple[str, ...], Line] = {}
    made_by = []
    for folder in folders:
        try:
            theirs = GridConfig.model_validate_json((folder / CONFIG).read_text(encoding="utf-8"))
            made_by.append(json.loads((folder / MADE_BY).read_text(encoding="utf-8")))
            with (folder / RESULTS).open(encoding="utf-8", newline="") as stream:
                reader = csv.DictReader(stream)
                check_columns(reader.fieldnames or ())
                found = list(reader)
        except (OSError, ValueError) as fault:
            raise UserError(
                f"{folder} holds no results of a grid that can be read ({fault}): give a folder "
                "that `gradshield benchmark run` wrote."
            ) from fault
        _check_alike(theirs, config, folder)
        for line in found:
            lines.setdefault(place(line), line)
    return Known(lines, made_by)


def _check_alike(theirs: GridConfig, ours: GridConfig, folder: Path) -> None:
    """See that no setting which decides a line has more than one value in both together."""
    before, wanted = _settings(theirs), _settings(ours)
    for name in before:
        if len(before[name] | wanted[name]) > 1:
            values = " and ".join(sorted(before[name] | wanted[name]))
            raise UserError(
                f"What {folder} knows cannot be taken over: {name} differs ({values}). Leave "
                "--known out, or give the configuration the value that was measured with."
            )


def _settings(config: GridConfig) -> dict[str, set[str]]:
    """What decides a line beside what it is about, and all values that it has, as JSON."""
    return {
        "model": {config.model.model_dump_json(exclude={"device"})},
        **{name: {json.dumps(getattr(config, name))} for name in ROWS},
        **{name: {_json(part, name) for part in config.finetunes} for name in MEASURED},
        "search": {
            part.search.model_dump_json(exclude={"filters"})
            for part in config.finetunes
            if part.search is not None
        },
    }


def _json(part: Finetunes, name: str) -> str:
    return json.dumps(part.model_dump(mode="json")[name], sort_keys=True)
