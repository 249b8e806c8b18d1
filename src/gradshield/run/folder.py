"""The run folder: one place for everything that a run reads and writes.

Every step can start from it, so any step can be redone alone and an interrupted run goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from gradshield.config import RunConfig, first_problem
from gradshield.data import CONTAINERS
from gradshield.durable import DRAFT, remove
from gradshield.errors import UserError
from gradshield.files import write_text
from gradshield.yaml_files import parse_yaml

BESIDE_THE_PAGE = ("report_rows", "report.json", "report.sarif", "data_card.md")
"""Rows that did not fit into the report, and its forms for programs and for publishing."""


@dataclass(frozen=True)
class RunFolder:
    """Paths inside a run folder."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def provenance(self) -> Path:
        """What made the run: identity of inputs, versions, hardware, command."""
        return self.path / "provenance.json"

    @property
    def answers(self) -> Path:
        """The model's own answers to the probes, as tokens."""
        return self.path / "probe_answers.json"

    @property
    def direction(self) -> Path:
        """The gradient of the safety proxy."""
        return self.path / "direction.safetensors"

    @property
    def engine(self) -> Path:
        """Which engine scored, what it chose, and why."""
        return self.path / "engine.json"

    @property
    def reference(self) -> Path:
        """Scores of the harmless reference rows."""
        return self.path / "reference.parquet"

    @property
    def scores(self) -> Path:
        """Folder of the score table's parts."""
        return self.path / "scores"

    @property
    def rejections(self) -> Path:
        """Why each rejected row could not be scored, with its line."""
        return self.path / "rejections.json"

    @property
    def decision(self) -> Path:
        """Threshold, method, diagnostics and counts."""
        return self.path / "decision.json"

    @property
    def overrides(self) -> Path:
        """What reviewers said about rows, one line an override; only ever appended to."""
        return self.path / "overrides.jsonl"

    @property
    def outputs(self) -> Path:
        """What the data files were written from, and their SHA-256."""
        return self.path / "outputs.json"

    @property
    def search(self) -> Path:
        """Folder of the search for the threshold: trials and trace."""
        return self.path / "search"

    @property
    def trace(self) -> Path:
        """The points that a search measured, in order, and what it came to."""
        return self.search / "trace.json"

    @property
    def summary(self) -> Path:
        """The run in words and figures, Markdown: for a pull request."""
        return self.path / "report.md"

    @property
    def page(self) -> Path:
        """The report, to be opened in a browser."""
        return self.path / "report.html"

    @property
    def redacted(self) -> Path:
        """Folder of the report without texts."""
        return self.path / "redacted"

    @property
    def masked(self) -> Path:
        """All rows as tokens, in which harmful spans carry no loss."""
        return self.output("masked", ".parquet")

    def output(self, name: str, suffix: str) -> Path:
        """A data file of rows: `kept`, `removed` or `rejected`, or `annotated` with new columns."""
        return self.path / f"{name}{suffix}"

    def written(self, name: str) -> list[Path]:
        """What there is of an output, a file or a folder of shards, in whatever container."""
        endings = ("", "_rows", *sorted({container.suffix for container in CONTAINERS} - {""}))
        return [path for path in (self.output(name, end) for end in endings) if path.exists()]

    def keep_only(self, name: str, wanted: Path | None) -> None:
        """Delete what there is of an output in other forms than the one that was written last."""
        for path in self.written(name):
            if path != wanted:
                remove(path)

    def read_config(self) -> RunConfig:
        """The configuration of a run that was started before.

        It never says that a model's own code may be run: a folder can come from anyone, and that
        is for the user to say.

        Raises:
            UserError: There is no run in this folder, or it cannot be trusted to be one.
        """
        self._refuse_links()
        if not self.config.is_file():
            raise UserError(
                f"{self.path} is no run folder (it has no config.yaml). Start one with "
                "`gradshield score DATA --out FOLDER` or `gradshield filter DATA --out FOLDER`."
            )
        try:
            content = parse_yaml(self.config.read_text(encoding="utf-8"))
            config = RunConfig.model_validate(content)
        except ValueError as fault:
            problem = first_problem(fault) if isinstance(fault, ValidationError) else str(fault)
            raise damaged(self.config, problem) from fault
        model = config.model.model_copy(update={"trust_remote_code": False})
        return config.model_copy(update={"model": model})

    def write_config(self, config: RunConfig) -> None:
        """Keep the resolved configuration."""
        write_text(self.config, yaml.safe_dump(config.model_dump(), sort_keys=False))

    def read_identity(self) -> dict[str, Any]:
        """What decides the scores of the run in this folder.

        Raises:
            UserError: There is no run in this folder.
        """
        identity = self._found_identity()
        if identity is None:
            raise UserError(f"{self.path} is no run folder (it has no provenance.json).")
        return identity

    def claim(self, identity: Mapping[str, Any], record: Mapping[str, Any], *, force: bool) -> bool:
        """Take the folder for a run of these inputs.

        Args:
            identity: What decides the scores; a later run must have the same to go on.
            record: What else is worth knowing of the run.
            force: Throw away what another run left.

        Returns:
            Whether an earlier run of the same inputs is being continued.

        Raises:
            UserError: The folder holds a run of other inputs, or other files, and not `force`.
        """
        self._refuse_links()
        # In this order: others may be starting this very run, and what they write first is the
        # provenance.
        occupied = self.holds_something()
        found = self._found_identity()
        if found == identity:
            return True
        if found is not None and not force:
            raise self._other_inputs(found, identity)
        if found is None and occupied:
            raise UserError(f"{self.path} exists and is no run folder: name another --out.")
        if found is not None:
            self._clear()
        new = {"identity": identity, **record}
        write_json(self.provenance, new, once=found is None)
        found = self._found_identity()
        if found is not None and found != identity:  # another run was faster
            raise self._other_inputs(found, identity)
        return False

    def _other_inputs(self, found: Mapping[str, Any], identity: Mapping[str, Any]) -> UserError:
        return UserError(
            f"{self.path} holds a run of other inputs ({difference(found, identity)}). "
            "Name another --out, or start over there with --force."
        )

    def _refuse_links(self) -> None:
        """A run would write through links in its folder, into other people's files.

        The folder itself may be a link: its user has named it.
        """
        inside = (*self.path.glob("*"), *self.scores.glob("*"), *self.search.rglob("*"))
        link = next((entry for entry in sorted(inside) if entry.is_symlink()), None)
        if link is not None:
            raise UserError(
                f"{link} is a symbolic link: in a run folder it would lead writing elsewhere. "
                "Remove it, or name another folder."
            )

    def _clear(self) -> None:
        """Delete what a run wrote, and nothing that somebody put beside it.

        Wherever this is cut short, what is left is a run that has not come as far: what tells that
        a step is done goes before its outcome. The provenance stays, to be replaced: without it
        the folder would be nobody's.
        """
        for path in (self.outputs, self.rejections, self.decision):
            remove(path)
        for data in ("kept", "removed", "rejected", "annotated", "masked"):
            self.keep_only(data, None)
        for path in (
            self.overrides,
            self.search,
            self.summary,
            self.page,
            self.redacted,
            *(self.path / name for name in BESIDE_THE_PAGE),
            self.scores,
            self.reference,
            self.engine,
            self.direction,
            self.answers,
            self.config,
        ):
            remove(path)

    def holds_something(self) -> bool:
        """Whether there is more than locks, and drafts of runs that are starting."""
        if not self.path.is_dir():
            return self.path.exists()
        return not all(
            entry.name.startswith(".") and entry.name.endswith((".lock", DRAFT))
            for entry in self.path.iterdir()
        )

    def _found_identity(self) -> dict[str, Any] | None:
        if not self.provenance.is_file():
            return None
        try:
            content = json.loads(self.provenance.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            return None
        identity = content.get("identity") if isinstance(content, dict) else None
        return identity if isinstance(identity, dict) else None


def difference(
    found: Mapping[str, Any], wanted: Mapping[str, Any], places: tuple[str, str] = ("there", "now")
) -> str:
    """What differs between the identities of two runs, for people, who know them as `places`."""
    changed = [
        f"{name}: {_short(found.get(name))} {places[0]}, {_short(wanted.get(name))} {places[1]}"
        for name in sorted({*found, *wanted})
        if found.get(name) != wanted.get(name)
    ]
    return "; ".join(changed)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:16]}…"


def write_json(path: Path, content: Any, *, once: bool = False) -> None:
    """Write JSON that is the same for the same content; see `written_whole`."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    # Half of a surrogate pair, from a row's own field names, has no UTF-8 form but a JSON escape.
    write_text(path, text.encode("utf-8", "backslashreplace").decode("utf-8"), once=once)


def read_json(path: Path, *keys: str) -> Any:
    """What `write_json` wrote; with keys, an object that has them.

    Raises:
        UserError: It is no JSON, or of another form.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as fault:
        raise damaged(path, str(fault)) from fault
    missing = [key for key in keys if not (isinstance(content, dict) and key in content)]
    if missing:
        raise damaged(path, f"it lacks {missing[0]}")
    return content


def damaged(path: Path, why: str) -> UserError:
    """The fault of a file in a run folder that is not as a run writes it."""
    return UserError(
        f"{path} is not as a run writes it ({why}): it was damaged, or is none of GradShield's. "
        "Make the run again with another --out."
    )
