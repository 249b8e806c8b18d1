"""The step `evaluate`: measure a model and leave the figures with every generation beside them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gradshield.config import EvaluationConfig
from gradshield.errors import UserError
from gradshield.evaluation.evaluate import (
    Evaluation,
    evaluate_prompts,
    evaluate_tasks,
    summarise_prompts,
)
from gradshield.evaluation.generation import Sampling
from gradshield.evaluation.judges import make_judge
from gradshield.evaluation.prompt_sets import EvaluatedSet, evaluated_set, own_set
from gradshield.evaluation.tasks import task_by_name
from gradshield.evaluation.tasks.base import Task, TaskItem
from gradshield.files import written_whole
from gradshield.models.load import LoadedModel, load_model
from gradshield.probes.prompt_sets import spread
from gradshield.progress import Progress
from gradshield.run.folder import write_json
from gradshield.run.lock import at_work_on
from gradshield.run.provenance import hardware, model_identity, versions

RESULT, GENERATIONS, ITEMS = "evaluation.json", "generations.parquet", "items.parquet"


def evaluate_model(config: EvaluationConfig, out: Path, progress: Progress) -> dict[str, Any]:
    """Measure a model and write `evaluation.json`, `generations.parquet` and `items.parquet`.

    Args:
        config: The model, what it is asked and who judges.
        out: Folder of the three files; an earlier evaluation there is replaced.
        progress: Told how far it is.

    Returns:
        The content of `evaluation.json`.

    Raises:
        UserError: The model, a prompt set, a task or a judge cannot be used, or the folder holds
            other files.
    """
    with at_work_on(out, progress):
        return _evaluate(config, out, progress)


def _evaluate(config: EvaluationConfig, out: Path, progress: Progress) -> dict[str, Any]:
    _check_replaceable(out)
    sets, tasks = _sets(config), _tasks(config)
    loaded = load_model(**config.model.model_dump(), say=progress.say)
    aligned = _aligned(config, loaded, progress)
    judges = [make_judge(name, aligned) for name in config.judges]
    generations = evaluate_prompts(
        loaded,
        aligned,
        sets,
        judges,
        answer_tokens=config.answer_tokens,
        sampling=_sampling(config),
        progress=progress,
    )
    task_summaries, items = evaluate_tasks(loaded, tasks, progress)
    evaluation = Evaluation(summarise_prompts(generations), task_summaries, generations, items)
    return _write(config, loaded, evaluation, out)


def _check_replaceable(out: Path) -> None:
    if out.exists() and not (out / RESULT).is_file() and any(out.iterdir()):
        raise UserError(f"{out} exists and is no evaluation: name another --out.")


def _sets(config: EvaluationConfig) -> list[EvaluatedSet]:
    public = None if config.public_data is None else Path(config.public_data)
    sets = [evaluated_set(name, public) for name in config.prompt_sets]
    sets += [own_set(Path(path), "refuse") for path in config.harmful_prompts]
    sets += [own_set(Path(path), "answer") for path in config.harmless_prompts]
    if config.limit is None:
        return sets
    return [
        EvaluatedSet(one.name, one.expectation, tuple(spread(one.prompts, config.limit)))
        for one in sets
    ]


def _tasks(config: EvaluationConfig) -> list[tuple[Task, Sequence[TaskItem]]]:
    if config.tasks and config.public_data is None:
        raise UserError("Tasks need their test rows: name the folder or file, --public-data.")
    source = Path(config.public_data or "")
    chosen = [task_by_name(name) for name in config.tasks]
    return [(task, spread(task.items(source), config.limit or 10**9)) for task in chosen]


def _aligned(config: EvaluationConfig, loaded: LoadedModel, progress: Progress) -> LoadedModel:
    """The aligned model that the finetuned one is judged by: without an adapter it is the base."""
    if config.aligned is not None:
        return load_model(config.aligned, dtype=config.model.dtype, device=config.model.device)
    if config.model.adapter is None:
        return loaded
    base = config.model.model_copy(update={"adapter": None})
    return load_model(**base.model_dump(), say=progress.say)


def _sampling(config: EvaluationConfig) -> Sampling | None:
    if config.temperature == 0:
        return None
    return Sampling(config.temperature, config.top_p, config.seed)


def _write(
    config: EvaluationConfig, loaded: LoadedModel, evaluation: Evaluation, out: Path
) -> dict[str, Any]:
    content = {
        "config": config.model_dump(),
        "identity": model_identity(loaded),
        "versions": versions(),
        "hardware": hardware(),
        "sets": evaluation.sets,
        "tasks": evaluation.tasks,
    }
    with written_whole(out) as draft:
        draft.mkdir()
        generations = [
            {**entry, "complied": json.dumps(entry["complied"])} for entry in evaluation.generations
        ]
        pq.write_table(pa.Table.from_pylist(generations), draft / GENERATIONS)
        pq.write_table(pa.Table.from_pylist(evaluation.items), draft / ITEMS)
        write_json(draft / RESULT, content)
    return content


def read_evaluation(
    folder: Path,
) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """An evaluation: its figures, its generations and its task items.

    Raises:
        UserError: There is none in the folder.
    """
    if not (folder / RESULT).is_file():
        raise UserError(f"{folder} holds no evaluation: make one with `gradshield evaluate`.")
    content = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    generations = pq.read_table(folder / GENERATIONS).to_pylist()
    for entry in generations:
        entry["complied"] = json.loads(entry["complied"])
    return content, generations, pq.read_table(folder / ITEMS).to_pylist()
