"""What a review server serves: the report of a run, made to save its marks in the trail."""

from __future__ import annotations

import html
import json
import secrets
import threading
from dataclasses import dataclass, field, replace

from pydantic import TypeAdapter, ValidationError

from gradshield.config import first_problem
from gradshield.errors import UserError
from gradshield.reporting.page import REVIEW_MARKER, embedded_json
from gradshield.run.apply import check_input, review_of
from gradshield.run.fingerprints import run_fingerprint
from gradshield.run.folder import RunFolder
from gradshield.run.incoming_overrides import checked_override
from gradshield.run.lock import at_work
from gradshield.run.overrides import (
    Override,
    ReviewedRun,
    ReviewerName,
    in_effect,
    read_overrides,
    record_overrides,
)
from gradshield.run.threshold import read_decision

PATIENCE = 10.0
"""Seconds that a mark waits for another command in the run folder, such as `apply`, to end."""


@dataclass(frozen=True)
class ReviewSite:
    """What is served, and what a mark must agree with.

    Attributes:
        folder: The run.
        run: What a mark must agree with.
        reviewer: Name that the page suggests, and that marks without one get.
        token: What every address has to hold.
    """

    folder: RunFolder
    run: ReviewedRun
    reviewer: str
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def page(self) -> bytes:
        """The report, told where it can save marks, what is marked and who the reviewer is."""
        content = (self.folder.page).read_text(encoding="utf-8")
        metas = {
            "gradshield-review": f"/overrides?token={self.token}",
            "gradshield-reviewer": self.reviewer,
        }
        inserted = "".join(
            f'<meta name="{name}" content="{html.escape(value)}">' for name, value in metas.items()
        )
        marks = [
            override.model_dump(mode="json", include=set(Override.model_fields))
            for override in in_effect(read_overrides(self.folder)).values()
        ]
        inserted += (
            f'<script type="application/json" id="gradshield-marks">{embedded_json(marks)}</script>'
        )
        return content.replace(REVIEW_MARKER, inserted, 1).encode("utf-8")

    def save(self, body: bytes) -> None:
        """Append the override in a request to the trail of the run.

        Raises:
            UserError: It is none, or cannot be applied to this run.
        """
        try:
            entry = json.loads(body)
        except (ValueError, RecursionError) as fault:
            raise UserError("The mark is no JSON.") from fault
        if isinstance(entry, dict) and not entry.get("reviewer"):
            entry["reviewer"] = self.reviewer
        override = checked_override(entry, self.run, "The mark")
        with self._lock, at_work(self.folder, patience=PATIENCE):
            if run_fingerprint(self.folder.read_identity()) != self.run.fingerprint:
                raise UserError("Another run has taken the place of this one: start again.")
            threshold = read_decision(self.folder)["threshold"]
            record_overrides(self.folder, [override], replace(self.run, threshold=threshold))


def open_site(folder: RunFolder, reviewer: str) -> ReviewSite:
    """Make ready what a review server serves.

    Args:
        folder: The run.
        reviewer: Name that the page suggests.

    Raises:
        UserError: That is no name, the run has no report or no decision, or its input has changed.
    """
    try:
        name = TypeAdapter(ReviewerName).validate_python(reviewer)
    except ValidationError as fault:
        raise UserError(f"--reviewer: {first_problem(fault)}.") from fault
    source = check_input(folder.read_config(), folder)
    page = folder.page
    if not page.is_file():
        raise UserError(f"{folder.path} has no {page.name} yet: write it with `gradshield report`.")
    if REVIEW_MARKER not in page.read_text(encoding="utf-8"):
        raise UserError(
            f"{page} cannot save marks, it is of another version or without texts: write it again "
            "with `gradshield report`."
        )
    return ReviewSite(folder, review_of(folder, source), name)
