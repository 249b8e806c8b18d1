"""The main job: score, decide and write, in one go."""

from __future__ import annotations

from gradshield.config import RunConfig
from gradshield.progress import Progress
from gradshield.run.actions import check_columns
from gradshield.run.apply import apply
from gradshield.run.folder import RunFolder
from gradshield.run.lock import at_work
from gradshield.run.report import write_report
from gradshield.run.score import LOCAL, score
from gradshield.run.search import check_search, search
from gradshield.run.source import open_input
from gradshield.run.summary import NOTHING_KEPT, keeps_nothing, write_summary
from gradshield.run.threshold import RowDecision, read_decision, threshold
from gradshield.scoring.executors import Executor


def filter_data(
    config: RunConfig,
    folder: RunFolder,
    progress: Progress,
    *,
    force: bool = False,
    executor: Executor = LOCAL,
) -> RowDecision:
    """Score every row, choose the threshold, and write kept, removed and rejected files.

    The arguments are those of `score`.

    Raises:
        UserError: The data, the model or the folder cannot be used, another run is at work in it,
            or a search found no threshold.
        RowsRejected: Rows were rejected under `on_reject: fail`.
    """
    # Before the scoring, which can take hours.
    source = open_input(config, progress)
    check_columns(source, config.action)
    source.check_layout(config.shards)
    if config.search is not None:
        check_search(config.search)
    with at_work(folder, progress):
        score(config, folder, progress, force=force, source=source, executor=executor)
        threshold(folder, config.threshold)
        if config.search is not None:
            search(config, folder, progress)
        write_summary(config, folder)
        write_report(config, folder, progress)
        rows = apply(config, folder)
    if keeps_nothing(config, read_decision(folder)):
        progress.warn(NOTHING_KEPT)
    return rows
