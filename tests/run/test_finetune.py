"""The step `finetune`: its folder, its record, going on, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gradshield.config import RunConfig
from gradshield.data import load_examples
from gradshield.errors import UserError
from gradshield.files import sha256_of
from gradshield.finetuning import supervised
from gradshield.finetuning.supervised import LoraSettings, TrainingSettings
from gradshield.models.load import LoadedModel, load_model
from gradshield.progress import Silent
from gradshield.run import finetune as step
from gradshield.run.finetune import finetune_data
from tests.finetuning.test_supervised import StopAt
from tests.run.data_files import good_rows, mixed_jsonl, write_jsonl
from tests.tiny_models import losses, save_tiny_model

TRAINING = TrainingSettings(
    learning_rate=1e-2, batch_size=4, micro_batch_size=2, warmup_steps=0, save_every=1
)
LORA = TRAINING.model_copy(update={"lora": LoraSettings(rank=2, alpha=4)})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "rows.jsonl", good_rows(12))


def config(data: Path, model_folder: Path, **model: Any) -> RunConfig:
    named = {"name": str(model_folder), "dtype": "float32", "device": "cpu", **model}
    return RunConfig.model_validate({"data_path": str(data), "model": named})


def interrupted(patch: pytest.MonkeyPatch, *arguments: Any, **options: Any) -> None:
    """Run the step until a third training step would begin."""
    with patch.context() as patched:
        patched.setattr(
            step,
            "train",
            lambda *a, **o: supervised.train(*a, callbacks=[StopAt(2)], **o),
        )
        with pytest.raises(KeyboardInterrupt):
            finetune_data(*arguments, Silent(), **options)


def test_an_adapter_folder_is_what_peft_and_load_model_read(
    data: Path, model_folder: Path, tmp_path: Path, loaded: LoadedModel
) -> None:
    from peft import PeftModel

    out = tmp_path / "adapter"
    record = finetune_data(config(data, model_folder), LORA, out, Silent())
    assert sorted(path.name for path in out.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "training.json",
    ]
    tensors = load_file(out / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    named = json.loads((out / "adapter_config.json").read_text())
    assert named["base_model_name_or_path"] == str(model_folder)
    examples = load_examples(data, loaded.tokenizer).examples
    tuned = load_model(str(model_folder), adapter=out, dtype="float32", device="cpu").model
    found = losses(examples, tuned)
    assert sum(found) < 0.97 * sum(losses(examples, loaded.model))
    base = load_model(str(model_folder), dtype="float32", device="cpu").model
    by_peft: Any = PeftModel.from_pretrained(base, str(out))
    assert losses(examples, by_peft) == pytest.approx(found, rel=1e-4)
    assert record == json.loads((out / "training.json").read_text())
    assert not (tmp_path / "adapter.checkpoints").exists()


@pytest.mark.parametrize(
    ("training", "merge"), [(TRAINING, False), (LORA, True)], ids=["whole", "merged"]
)
def test_a_model_folder_is_a_whole_chat_model(
    data: Path,
    model_folder: Path,
    tmp_path: Path,
    loaded: LoadedModel,
    training: TrainingSettings,
    merge: bool,
) -> None:
    out = tmp_path / "model"
    record = finetune_data(config(data, model_folder), training, out, Silent(), merge=merge)
    assert record["result"] == "model"
    tuned = load_model(str(out), dtype="float32", device="cpu")
    assert tuned.tokenizer.chat_template == loaded.tokenizer.chat_template
    examples = load_examples(data, tuned.tokenizer).examples
    assert sum(losses(examples, tuned.model)) < 0.97 * sum(losses(examples, loaded.model))
    assert tuned.model.state_dict().keys() == loaded.model.state_dict().keys()


def test_the_record_says_what_made_the_result(model_folder: Path, tmp_path: Path) -> None:
    data = mixed_jsonl(tmp_path / "mixed.jsonl")
    with pytest.warns(UserWarning, match="4 rows cannot be trained on .* line 3: "):
        record = finetune_data(config(data, model_folder), LORA, tmp_path / "out", Silent())
    identity = record["identity"]
    assert identity["data_sha256"] == sha256_of(data)
    assert identity["model"] == str(model_folder)
    assert identity["dtype"] == "float32"
    assert len(identity["weights_sha256"]) == 64
    assert identity["lora"] == {"rank": 2, "alpha": 4, "modules": None}
    assert record["training"] == LORA.model_dump()
    assert (record["rows"], record["rejected"]) == (24, 4)
    assert (record["steps"], len(record["losses"]), record["first_step"]) == (6, 6, 0)
    assert record["versions"]["trl"]
    assert record["data"] == str(data)
    assert record["seconds"] > 0


def test_an_interrupted_training_goes_on_to_the_same_weights(
    data: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = config(data, model_folder)
    finetune_data(run, LORA, tmp_path / "never", Silent())
    out = tmp_path / "out"
    interrupted(monkeypatch, run, LORA, out)
    assert not out.exists()
    assert (tmp_path / "out.checkpoints" / "checkpoint-2").is_dir()
    # How often checkpoints are written does not make another training.
    record = finetune_data(run, LORA.model_copy(update={"save_every": 7}), out, Silent())
    assert (record["first_step"], record["steps"]) == (2, 3)
    weights = (out / "adapter_model.safetensors").read_bytes()
    assert weights == (tmp_path / "never" / "adapter_model.safetensors").read_bytes()
    assert not (tmp_path / "out.checkpoints").exists()


def test_checkpoints_of_another_training_are_kept_unless_forced(
    data: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, out = config(data, model_folder), tmp_path / "out"
    interrupted(monkeypatch, run, LORA, out)
    other = LORA.model_copy(update={"seed": 1})
    with pytest.raises(UserError, match=r"out.checkpoints belongs to another .*\(other seed\)"):
        finetune_data(run, other, out, Silent())
    assert (tmp_path / "out.checkpoints" / "checkpoint-2").is_dir()
    assert finetune_data(run, other, out, Silent(), force=True)["first_step"] == 0


def test_a_finished_training_is_not_repeated_and_another_one_needs_force(
    data: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, out = config(data, model_folder), tmp_path / "out"
    record = finetune_data(run, LORA, out, Silent())
    before = sha256_of(out)
    with monkeypatch.context() as patched:
        patched.setattr(step, "train", lambda *_, **__: pytest.fail("trained again"))
        assert finetune_data(run, LORA, out, Silent()) == record
        write_jsonl(data, good_rows(8))
        with pytest.raises(UserError, match=r"out belongs to another .*\(other data_sha256\)"):
            finetune_data(run, LORA, out, Silent())
    assert sha256_of(out) == before
    assert finetune_data(run, LORA, out, Silent(), force=True)["rows"] == 8
    assert json.loads((out / "training.json").read_text())["rows"] == 8


@pytest.mark.parametrize("name", ["out", "out.checkpoints"])
def test_a_folder_of_something_else_is_never_touched(
    data: Path, model_folder: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.txt").touch()
    with pytest.raises(UserError, match="was not written by `gradshield finetune`"):
        finetune_data(config(data, model_folder), LORA, tmp_path / "out", Silent(), force=True)
    assert (tmp_path / name / "thesis.txt").is_file()


def test_data_without_a_row_to_train_on_is_a_user_error(model_folder: Path, tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "rows.jsonl", [{"instruction": "Name a river.", "output": " "}])
    with pytest.raises(UserError, match="has no row to train on: "):
        finetune_data(config(data, model_folder), LORA, tmp_path / "out", Silent())
    assert not (tmp_path / "out.checkpoints").exists()


def test_the_result_may_not_lie_around_the_data(data: Path, model_folder: Path) -> None:
    with pytest.raises(UserError, match="lie in each other"):
        finetune_data(config(data, model_folder), LORA, data.parent, Silent(), force=True)


def test_an_adapter_upon_an_adapter_must_be_merged(
    data: Path, model_folder: Path, tmp_path: Path
) -> None:
    finetune_data(config(data, model_folder), LORA, tmp_path / "first", Silent())
    run = config(data, model_folder, adapter=str(tmp_path / "first"))
    with pytest.raises(UserError, match="add --merge to write a whole model"):
        finetune_data(run, LORA, tmp_path / "second", Silent())
    finetune_data(run, LORA, tmp_path / "second", Silent(), merge=True)
    first = load_model(str(model_folder), adapter=tmp_path / "first", dtype="float32", device="cpu")
    second = load_model(str(tmp_path / "second"), dtype="float32", device="cpu")
    examples = load_examples(data, second.tokenizer).examples
    assert sum(losses(examples, second.model)) < sum(losses(examples, first.model))


def test_tied_embeddings_survive_the_model_folder(data: Path, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "tied", tied=True)
    finetune_data(config(data, folder), TRAINING, tmp_path / "out", Silent())
    model: Any = load_model(str(tmp_path / "out"), dtype="float32", device="cpu").model
    before: Any = load_model(str(folder), dtype="float32", device="cpu").model
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert torch.equal(model.lm_head.weight, before.lm_head.weight)


def test_what_a_killed_training_left_is_cleared_away(
    data: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, checkpoints = tmp_path / "adapter", tmp_path / "adapter.checkpoints"
    # Killed while it wrote whose checkpoints these are to be, and other ones were being deleted.
    (checkpoints / ".identity.json.abcd0123.draft").mkdir(parents=True)
    (tmp_path / ".adapter.checkpoints.abcd0123.draft").mkdir()
    (tmp_path / ".adapter.abcd0123.draft").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(step, "_drop_checkpoints", lambda folder, identity: None)
        first = finetune_data(config(data, model_folder), LORA, out, Silent())
    # Killed between the result and the deletion of the checkpoints.
    assert (checkpoints / "identity.json").is_file()
    assert finetune_data(config(data, model_folder), LORA, out, Silent()) == first
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["adapter", "rows.jsonl"]


def test_checkpoints_of_another_training_stay(
    data: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, checkpoints = tmp_path / "adapter", tmp_path / "adapter.checkpoints"
    finetune_data(config(data, model_folder), LORA, out, Silent())
    checkpoints.mkdir()
    (checkpoints / "identity.json").write_text('{"of": "another"}')
    finetune_data(config(data, model_folder), LORA, out, Silent())
    assert (checkpoints / "identity.json").is_file()
