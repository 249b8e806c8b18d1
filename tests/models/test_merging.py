"""Adapters that do not belong to the model, or cannot be merged, are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gradshield.errors import UserError
from gradshield.models.load import load_model
from tests.tiny_models import save_tiny_model, tiny_llama

Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("base") / "tiny-base")


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    model = get_peft_model(tiny_llama(), LoraConfig(r=2, target_modules=["q_proj"]))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    folder = tmp_path_factory.mktemp("adapter") / "lora"
    model.save_pretrained(str(folder))
    return folder


def changed(lora: Path, folder: Path, change: Callable[[Tensors], Tensors]) -> Path:
    """A copy of the adapter with other tensors."""
    shutil.copytree(lora, folder)
    tensors = change(load_file(folder / "adapter_model.safetensors"))
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


def _without_block_one(tensors: Tensors) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if "layers.1." not in name}


def _with_block_seven(tensors: Tensors) -> Tensors:
    more = {n.replace("layers.1.", "layers.7."): t.clone() for n, t in tensors.items()}
    return tensors | more


def test_an_adapter_of_a_model_with_fewer_blocks(base: Path, lora: Path, tmp_path: Path) -> None:
    """By itself PEFT would leave the second block as it is, and say so in a warning."""
    adapter = changed(lora, tmp_path / "short", _without_block_one)
    with pytest.raises(UserError, match="2 of its weights are missing and 0 have no place"):
        load_model(str(base), adapter=adapter, device="cpu")


def test_an_adapter_of_a_model_with_more_blocks(base: Path, lora: Path, tmp_path: Path) -> None:
    """By itself PEFT would leave the other blocks out without a word."""
    adapter = changed(lora, tmp_path / "long", _with_block_seven)
    with pytest.raises(UserError, match="0 of its weights are missing and 2 have no place"):
        load_model(str(base), adapter=adapter, device="cpu")


def test_an_adapter_that_is_no_number(base: Path, lora: Path, tmp_path: Path) -> None:
    adapter = changed(lora, tmp_path / "nan", lambda t: {n: v * float("nan") for n, v in t.items()})
    with pytest.raises(UserError, match=f"of the model {base} with {adapter} holds numbers that"):
        load_model(str(base), adapter=adapter, device="cpu")


def test_a_pickled_adapter_is_not_opened(base: Path, lora: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return open, (str(tmp_path / "ran"), "w")

    adapter = Path(shutil.copytree(lora, tmp_path / "pickle"))
    (adapter / "adapter_model.safetensors").unlink()
    torch.save({"x": Evil()}, adapter / "adapter_model.bin")
    with pytest.raises(UserError, match="a pickle, which may hold code"):
        load_model(str(base), adapter=adapter, device="cpu")
    assert not (tmp_path / "ran").exists()


def test_an_adapter_without_weights_to_merge(base: Path, tmp_path: Path) -> None:
    settings = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    get_peft_model(tiny_llama(), settings).save_pretrained(str(tmp_path / "prompt"))
    with pytest.raises(UserError, match="of the type PROMPT_TUNING, which cannot be merged"):
        load_model(str(base), adapter=tmp_path / "prompt", device="cpu")


@pytest.mark.parametrize("entry", [{"peft_type": "NOPE"}, {"r": "x"}, {"target_modules": 3}])
def test_a_damaged_configuration(
    base: Path, lora: Path, tmp_path: Path, entry: dict[str, object]
) -> None:
    adapter = Path(shutil.copytree(lora, tmp_path / "damaged"))
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | entry))
    with pytest.raises(UserError, match="trained on this very base model"):
        load_model(str(base), adapter=adapter, device="cpu")


@pytest.mark.parametrize(
    ("named", "told"), [("hub/other-model", True), ("hub/tiny-base", False), (None, False)]
)
def test_another_base_by_name_is_told(
    base: Path, lora: Path, tmp_path: Path, named: str | None, told: bool
) -> None:
    adapter = Path(shutil.copytree(lora, tmp_path / "named"))
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = named
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    lines: list[str] = []
    load_model(str(base), adapter=adapter, device="cpu", say=lines.append)
    assert bool(lines) is told
    assert all("hub/other-model" in line for line in lines)
