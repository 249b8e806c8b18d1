"""A folder as its user has it: data, a trainer's configuration, and a model."""

from __future__ import annotations

import json
from pathlib import Path

from tests.run.data_files import good_rows, write_jsonl

AXOLOTL = """\
# our finetune
base_model: {model}  # aligned
sequence_len: 256
datasets:
  - path: data/chat.jsonl  # from support
    type: chat_template
  - path: data/more.v2.jsonl
    type: chat_template
    split: train
dataset_prepared_path:
val_set_size: 0.0
output_dir: ./out
micro_batch_size: 1
gradient_accumulation_steps: 1
num_epochs: 1
learning_rate: 0.0002
"""

LLAMAFACTORY = """\
### model
model_name_or_path: {model}

### method
stage: sft
do_train: true
finetuning_type: lora

### dataset
dataset: chat, alpaca_rows  # both are ours
dataset_dir: data
template: default
cutoff_len: 256

### output
output_dir: out
"""


def chat_rows(count: int) -> list[dict[str, object]]:
    return [{"messages": row["messages"]} for row in good_rows(count * 4) if "messages" in row]


def alpaca_rows(count: int) -> list[dict[str, object]]:
    return [row for row in good_rows(count * 4) if "instruction" in row]


def axolotl_folder(folder: Path, model: Path) -> Path:
    """The configuration in a folder with two data files."""
    (folder / "data").mkdir()
    write_jsonl(folder / "data" / "chat.jsonl", chat_rows(8))
    write_jsonl(folder / "data" / "more.v2.jsonl", chat_rows(12))
    config = folder / "train.yaml"
    config.write_text(AXOLOTL.format(model=model))
    return config


def llamafactory_folder(folder: Path, model: Path) -> Path:
    """The configuration in a folder with two data files and their `dataset_info.json`."""
    (folder / "data").mkdir()
    write_jsonl(folder / "data" / "chat.jsonl", chat_rows(8))
    (folder / "data" / "alpaca.json").write_text(json.dumps(alpaca_rows(8)))
    tags = {"role_tag": "role", "content_tag": "content"}
    tags |= {"user_tag": "user", "assistant_tag": "assistant"}
    info = {
        "chat": {
            "file_name": "chat.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "messages"},
            "tags": tags,
        },
        "alpaca_rows": {"file_name": "alpaca.json"},
        "elsewhere": {"hf_hub_url": "some/where"},
        "unused": {"file_name": "../other/unused.json"},
    }
    (folder / "data" / "dataset_info.json").write_text(json.dumps(info))
    config = folder / "train.yaml"
    config.write_text(LLAMAFACTORY.format(model=model))
    return config
