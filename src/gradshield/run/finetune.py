"""The step `finetune`: train on a data file, and leave an adapter or a model with its record."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gradshield.config import RunConfig
from gradshield.data import DataSource, LoadedData
from gradshield.durable import put_right, remove
from gradshield.errors import UserError
from gradshield.files import written_whole
from gradshield.finetuning.supervised import (
    Trained,
    TrainingSettings,
    merged,
    require_trl,
    train,
)
from gradshield.models.load import LoadedModel, load_model
from gradshield.progress import Progress
from gradshield.run.folder import write_json
from gradshield.run.lock import at_work_on
from gradshield.run.provenance import model_identity, run_record
from gradshield.run.reading import read_data
from gradshield.run.source import check_apart, open_input

RECORD = "training.json"
IDENTITY = "identity.json"


def finetune_data(
    config: RunConfig,
    training: TrainingSettings,
    out: Path,
    progress: Progress,
    *,
    merge: bool = False,
    force: bool = False,
) -> dict[str, Any]:
    """Finetune a model on the response tokens of a data file, read as it is for scoring.

    The result is a folder that is there whole or not at all: a PEFT adapter, or a transformers
    model with its tokenizer where layers were trained whole or `merge` is asked for; and in it
    `training.json`. While it trains, checkpoints are in `OUT.checkpoints` beside it; a training
    that was interrupted goes on from the last one and ends with the same weights, bit for bit. They
    are deleted at the end.

    Args:
        config: Names the data and the model; what it says of scores is not used.
        training: Rates, sizes and seed; without `lora` the block linear layers are trained whole.
        out: The result folder.
        progress: Told how far it is.
        merge: Merge the trained adapter and write a whole model.
        force: Replace a result of another training, and throw away its checkpoints.

    Returns:
        The content of `training.json`.

    Raises:
        UserError: The data, the model or a folder cannot be used, no row can be trained on, or the
            loss is not finite.
    """
    require_trl()
    # Unusable data is to be known before the model is loaded.
    source = open_input(config, progress)
    check_apart(source, out)
    with at_work_on(out, progress):
        return _finetune(config, training, out, progress, source, merge=merge, force=force)


def _finetune(
    config: RunConfig,
    training: TrainingSettings,
    out: Path,
    progress: Progress,
    source: DataSource,
    *,
    merge: bool,
    force: bool,
) -> dict[str, Any]:
    _check_loadable(config, training, merge)
    _check_ours(out, RECORD)
    checkpoints = out.with_name(f"{out.name}.checkpoints")
    for folder, name in ((out.parent, checkpoints.name), (checkpoints, None)):
        put_right(folder, name)
    _check_ours(checkpoints, IDENTITY)
    loaded = load_model(**config.model.model_dump(), say=progress.say)
    identity = training_identity(config, loaded, source, training, merge)
    if (done := _done(out, identity, force)) is not None:
        progress.say(f"{out} holds the result of this very training.")
        _drop_checkpoints(checkpoints, identity)
        return done
    data = read_data(config, loaded, progress, source)
    _check_rows(data, progress)
    _claim_checkpoints(checkpoints, identity, force)
    started = time.perf_counter()
    trained = train(
        loaded.model,
        loaded.tokenizer,
        data.examples,
        training,
        progress=progress,
        checkpoints=checkpoints,
    )
    record = {
        "identity": identity,
        **_record(training, data, trained, merge),
        "seconds": round(time.perf_counter() - started, 1),
    }
    _write_result(out, loaded, trained, record)
    _drop_checkpoints(checkpoints, identity)
    return record


def training_identity(
    config: RunConfig,
    loaded: LoadedModel,
    source: DataSource,
    training: TrainingSettings,
    merge: bool,
) -> dict[str, Any]:
    """What decides the trained weights: two trainings that agree in this have the same ones."""
    return {
        "data_sha256": source.sha256(),
        "model": config.model.name,
        "adapter": config.model.adapter,
        **model_identity(loaded),
        **config.data.model_dump(),
        **training.model_dump(exclude={"save_every"}),
        "merge": merge,
    }


def _record(
    training: TrainingSettings, data: LoadedData, trained: Trained, merge: bool
) -> dict[str, Any]:
    run = run_record(data.origin)
    libraries = {name: version(name) for name in ("trl", "accelerate")}
    return {
        **run,
        "versions": {**run["versions"], **libraries},
        "training": training.model_dump(),
        "result": "adapter" if training.lora is not None and not merge else "model",
        "rows": len(data.examples),
        "rejected": len(data.rejections),
        "response_tokens": sum(example.response_tokens for example in data.examples),
        "steps": len(trained.losses),
        "first_step": trained.first_step,
        "losses": list(trained.losses),
    }


def _write_result(
    out: Path, loaded: LoadedModel, trained: Trained, record: Mapping[str, Any]
) -> None:
    with written_whole(out) as draft:
        draft.mkdir()
        if record["result"] == "adapter":
            _save_adapter(draft, loaded.name, trained.model)
        else:
            merged(trained).save_pretrained(draft)
            loaded.tokenizer.save_pretrained(draft)
        write_json(draft / RECORD, record)


def _save_adapter(folder: Path, base_model: str, adapted: Any) -> None:
    """Write a PEFT adapter folder."""
    adapted.active_peft_config.base_model_name_or_path = base_model
    # No embedding was trained; asked to find that out by itself, PEFT would look on the hub.
    adapted.save_pretrained(str(folder), save_embedding_layers=False)
    # A model card to be filled in, which says nothing yet.
    (folder / "README.md").unlink(missing_ok=True)


def _check_loadable(config: RunConfig, training: TrainingSettings, merge: bool) -> None:
    """A LoRA adapter fits the weights that it was trained on, here those with another merged."""
    if config.model.adapter is not None and training.lora is not None and not merge:
        raise UserError(
            f"The new adapter would fit {config.model.name} with {config.model.adapter} merged, "
            "which no name stands for: add --merge to write a whole model."
        )


def _check_ours(folder: Path, marker: str) -> None:
    """Refuse, before anything that takes long, a folder that holds something else."""
    if folder.is_file() or (
        folder.is_dir() and any(folder.iterdir()) and not (folder / marker).is_file()
    ):
        raise UserError(
            f"{folder} exists and was not written by `gradshield finetune` (it has no {marker}): "
            "name another --out."
        )


def _check_rows(data: LoadedData, progress: Progress) -> None:
    if data.pairs:
        raise UserError(
            f"{data.source} holds preference rows, and `finetune` trains on rows with one answer: "
            "train on it with a preference trainer of yours, TRL's DPOTrainer for example."
        )
    if not data.examples:
        first = next(iter(data.rejections.values()), "the file is empty")
        raise UserError(f"{data.source} has no row to train on: {first}.")
    if data.rejections:
        row, reason = next(iter(data.rejections.items()))
        progress.warn(
            f"{len(data.rejections)} rows cannot be trained on and are left out; the first is "
            f"{data.rows[row].place}: {reason}."
        )


def _done(out: Path, identity: Mapping[str, Any], force: bool) -> dict[str, Any] | None:
    """The record of this very training, if it is finished."""
    path = out / RECORD
    if not path.is_file():
        return None
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if record["identity"] == identity:
        return record
    if not force:
        raise _other_training(out, record["identity"], identity)
    return None


def _claim_checkpoints(folder: Path, identity: Mapping[str, Any], force: bool) -> None:
    """Keep the checkpoints of this very training, and none of another."""
    path = folder / IDENTITY
    found = _training_of(folder)
    if found is not None:
        if found == identity:
            return
        if not force:
            raise _other_training(folder, found, identity)
        remove(folder)
    write_json(path, identity)


def _drop_checkpoints(folder: Path, identity: Mapping[str, Any]) -> None:
    """Delete the checkpoints of this very training, whose result is there."""
    if _training_of(folder) == identity:
        remove(folder)


def _training_of(folder: Path) -> Any:
    """The identity of the training that a folder of checkpoints is of; None if there is none."""
    path = folder / IDENTITY
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _other_training(folder: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> UserError:
    names = sorted({*found, *wanted})
    changed = ", ".join(name for name in names if found.get(name) != wanted.get(name))
    return UserError(
        f"{folder} belongs to another training (other {changed}). Name another --out, or start "
        "over there with --force."
    )
