"""Ray Data as executor: parts are read by tasks and scored by actors that hold model and direction.

The run folder has to be on storage that all nodes share: actors read the direction from it and
write their parts into it. Ray Data replaces a worker that dies and gives its part to another.
Since a part is a file that is renamed when whole, a part that is scored twice, because a worker
died between writing it and saying so, is the same file all the same.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import pyarrow as pa

from gradshield.data.remote import on_this_node, read_remotely
from gradshield.data.survey import RowsRead
from gradshield.errors import UserError
from gradshield.models.load import load_model
from gradshield.probes.direction import load_direction
from gradshield.progress import Progress, Silent
from gradshield.scoring.executors.base import Recipe, Work
from gradshield.scoring.model_lines import lines_by_model
from gradshield.scoring.parts import Part, ScoreLines, score_part
from gradshield.scoring.score import prepare_engine

READER_CPUS, CPU_SCORER_CPUS = 0.25, 0.75
"""Cores of a task that reads and of an actor that scores without a GPU: a core serves both."""
PART_RETRIES = 3
"""How often a part is handed out again when the worker that has it dies; then it is what kills."""
_KEPT = "What is scored is kept: the same command goes on from there."


@dataclass(frozen=True)
class RayExecutor:
    """A Ray cluster, that of `RAY_ADDRESS` or one of this machine.

    Attributes:
        actors: How many models score at once, at least and at most; None for no limit but the
            cluster's, between which Ray's own autoscaling chooses.
        gpus: GPUs of each actor, parts of one allowed; None for one where the cluster has any.
        ordered: Whether parts are done in the order of the rows.
    """

    actors: tuple[int, int | None] = (1, None)
    gpus: float | None = None
    ordered: bool = False
    name: str = "ray"

    def check(self) -> None:
        """See `Executor.check`: Ray Data has to be installed."""
        if find_spec("ray") is None or find_spec("ray.data") is None:
            raise UserError(
                "--executor ray needs Ray, which is not installed: pip install 'gradshield[ray]'."
            )

    def run(self, work: Work, parts: Sequence[Part], progress: Progress) -> None:
        """See `Executor.run`."""
        left = [part for part in parts if not part.is_done]
        items = [
            {
                "part": pickle.dumps(part),
                "rows": pickle.dumps((part.rows, work.rows.part(part.rows))),
            }
            for part in left
        ]
        if not items:
            return
        with (
            _cluster(self.ordered) as ray,
            progress.track("Scoring rows", _rows(parts), "rows") as advance,
        ):
            advance(_rows(parts) - _rows(left))
            scored = self._pipeline(ray, items, work, progress)
            try:
                for done in scored.iter_batches(batch_size=None, batch_format="pyarrow"):
                    for line in done.to_pylist():
                        if line["fault"] is not None:
                            raise UserError(line["fault"])
                        advance(line["rows"])
            except ray.exceptions.RayActorError as fault:
                raise UserError(
                    f"One part of {len(items)} could not be scored: its worker died, and so did "
                    f"those that replaced it ({_last_line(fault)}). A row of it ends the process, "
                    f"or the memory of a node is too small for it. {_KEPT}"
                ) from fault
            except ray.exceptions.RayError as fault:
                raise UserError(f"Ray stopped ({_last_line(fault)}). {_KEPT}") from fault

    def _pipeline(
        self, ray: Any, items: list[dict[str, bytes]], work: Work, progress: Progress
    ) -> Any:
        gpus = self.gpus
        if gpus is None:
            gpus = 1.0 if ray.cluster_resources().get("GPU", 0) else 0.0
        smallest, largest = self.actors
        progress.say(
            f"Ray: {smallest} to {'as many as fit' if largest is None else largest} actors with "
            f"{gpus:g} GPUs each, on {len(ray.nodes())} nodes."
        )
        read = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            read_remotely,
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=READER_CPUS,
            fn_kwargs={"tokenizer": work.tokenizer},
        )
        return read.map_batches(
            PartScorer,
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(min_size=smallest, max_size=largest),
            num_gpus=gpus,
            num_cpus=0 if gpus else CPU_SCORER_CPUS,
            max_task_retries=PART_RETRIES,
            fn_constructor_args=(work.recipe,),
        )


class PartScorer:
    """An actor that loads model and direction once and scores part after part."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.score: ScoreLines | None = None

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Score one part; what the user has to mend is told as a text."""
        part, read = (pickle.loads(batch[name][0].as_py()) for name in ("part", "read"))
        fault = read if isinstance(read, str) else self._score(part, read)
        schema = pa.schema([("rows", pa.int64()), ("fault", pa.string())])
        return pa.table({"rows": [len(part.rows)], "fault": [fault]}, schema=schema)

    def _score(self, part: Part, read: RowsRead) -> str | None:
        try:
            if self.score is None:
                self.score = follow(self.recipe)
            if not part.is_done:
                score_part(part, read, self.score, lambda count: None)
        except (UserError, OSError) as fault:
            return on_this_node(fault)
        return None


def follow(recipe: Recipe) -> ScoreLines:
    """Load what a run scores with, on another machine than the one that prepared the run.

    Raises:
        UserError: The run folder is not there, or the model is another one here.
    """
    if not recipe.direction.is_file():
        raise UserError(
            f"{recipe.direction} is not there: the run folder must be on storage that all nodes of "
            "the cluster share, under the same path."
        )
    loaded = load_model(**recipe.model.model_dump())
    here = recipe.identify(loaded)
    differing = sorted(name for name in here if here[name] != recipe.identity.get(name))
    if differing:
        raise UserError(
            f"The model {loaded.name} is another one here than where the direction was measured "
            f"({', '.join(differing)}): put the same model and the same GradShield on all nodes."
        )
    direction = load_direction(recipe.direction)
    engine = prepare_engine(loaded, direction, recipe.scoring, Silent(), recipe.step)
    return lines_by_model(loaded, engine, recipe.scoring)


@contextmanager
def _cluster(ordered: bool) -> Iterator[Any]:
    """Ray, connected to a cluster; one that was started for this is stopped again."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    before = context.enable_progress_bars, context.execution_options.preserve_order
    context.enable_progress_bars, context.execution_options.preserve_order = False, ordered
    started = not ray.is_initialized()
    if started:
        with _own_sigterm():
            ray.init(log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield ray
    finally:
        context.enable_progress_bars, context.execution_options.preserve_order = before
        if started:
            ray.shutdown()


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep this process's own way to be terminated, which Ray would replace by an exit."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if before is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


def _rows(parts: Sequence[Part]) -> int:
    return sum(len(part.rows) for part in parts)


def _last_line(fault: Exception) -> str:
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    return lines[-1] if lines else type(fault).__name__
