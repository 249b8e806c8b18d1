"""A run that a serving engine scores: no model here, but what was measured of it before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from gradshield.config import RunConfig
from gradshield.data import DataSource
from gradshield.data.survey import Scorable, Survey
from gradshield.errors import UserError
from gradshield.models.load import load_tokenizer
from gradshield.probes.direction import load_direction
from gradshield.probes.export import direction_sha256
from gradshield.progress import Progress
from gradshield.run.engine import keep_engine
from gradshield.run.fingerprints import run_fingerprint
from gradshield.run.folder import RunFolder, difference
from gradshield.run.provenance import chosen_identity, tokenizer_sha256
from gradshield.run.reading import read_rows
from gradshield.scoring.executors import ServedExecutor, Work
from gradshield.scoring.parts import Advance, Ids


@dataclass(frozen=True)
class ServedRun:
    """A run whose model is served elsewhere; see `ReadyRun`."""

    executor: ServedExecutor
    tokenizer: PreTrainedTokenizerBase
    rows: Survey
    fingerprint: str
    served: str

    def work(self, config: RunConfig, folder: RunFolder, progress: Progress) -> Work:
        """See `ReadyRun`."""
        export, model = self.executor.export(), self.executor.model()
        note = (
            f"served: {model.above} and {model.below} at {model.url}, rank {export.rank} "
            f"({export.energy_kept:.1%} of the direction's energy), step {export.step:g}"
        )
        progress.say(f"Engine {note}.")
        about = {"notes": [note], "warning": None, "step": export.step, "served": self.served}
        keep_engine(folder, about)

        def score(rows: Sequence[Scorable], ids: Ids, advance: Advance) -> list[dict[str, Any]]:
            return model.score(rows, ids, advance, config.scoring.reduction)

        return Work(self.rows, self.tokenizer, score)

    def check_reference(self, lines: Sequence[Mapping[str, Any]], progress: Progress) -> None:
        """See `ReadyRun`; a run without the model cannot tell what its losses should be."""


def prepare_served(
    config: RunConfig,
    folder: RunFolder,
    progress: Progress,
    executor: ServedExecutor,
    source: DataSource,
) -> ServedRun:
    """See that the folder holds a measured direction, of these inputs and of these adapters.

    Raises:
        UserError: It does not.
    """
    if not folder.direction.is_file():
        raise UserError(
            f"{folder.path} holds no direction, and a served model cannot be differentiated: "
            "measure it where the model can be loaded, with `gradshield direction measure` and "
            "the same options, and serve the adapters that `gradshield direction export` writes."
        )
    model = config.model
    tokenizer = load_tokenizer(
        model.name, revision=model.revision, trust_remote_code=model.trust_remote_code
    )
    identity = folder.read_identity()
    here = {**chosen_identity(config, source), "tokenizer_sha256": tokenizer_sha256(tokenizer)}
    there = {name: identity.get(name) for name in here}
    if here != there:
        raise UserError(
            f"The direction in {folder.path} was measured for other inputs "
            f"({difference(there, here)}): use the same options, or measure again."
        )
    _check_adapters(folder, executor)
    rows = read_rows(config, tokenizer, progress, source)
    if rows.holds_pairs:
        raise UserError(
            "--executor served scores rows with one answer, and these are preference rows: use "
            "--executor local or ray."
        )
    served = _fingerprint(executor)
    return ServedRun(
        executor, tokenizer, rows, run_fingerprint({**identity, "served": served}), served
    )


def _check_adapters(folder: RunFolder, executor: ServedExecutor) -> None:
    if executor.export().direction_sha256 != direction_sha256(load_direction(folder.direction)):
        raise UserError(
            f"The adapters in {executor.adapters} are of another direction than that of "
            f"{folder.path}: export them again with `gradshield direction export {folder.path}`, "
            "and serve those."
        )


def _fingerprint(executor: ServedExecutor) -> str:
    """What decides the scores of a served model beside the run."""
    export = executor.export()
    return run_fingerprint({"rank": export.rank, "step": export.step})
