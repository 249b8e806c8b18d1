"""Filter rows, then finetune on what is kept with TRL's SFTTrainer.

    python examples/trl_sft.py                     the demo rows and the built-in model
    python examples/trl_sft.py train.jsonl --model path/to/chat-model --out my-adapter

Rows are `messages`, one JSON object a line. The adapter is trained on the last answer of each, and
that is what is scored.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import load_dataset
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer

from gradshield import GradShield
from gradshield.config import DataSettings

DEMO = Path(__file__).parent / "mixed_chat.jsonl"


def main(arguments: Sequence[str] | None = None) -> SFTTrainer:
    """Filter, train, and save the adapter; returns the trainer."""
    options = _options(arguments)
    rows = load_dataset("json", data_files=str(options.data), split="train")

    shield = GradShield(options.model, data=DataSettings(response="last"))
    result = shield.filter(rows)
    print(f"{len(result.kept)} of {len(rows)} rows kept. {result.decision.reason}")

    model = shield.loaded.model
    trainer = SFTTrainer(
        model=model,
        processing_class=shield.loaded.tokenizer,
        train_dataset=result.kept.map(prompt_and_completion, remove_columns=rows.column_names),
        peft_config=LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM"),
        args=SFTConfig(
            output_dir=str(options.out),
            max_steps=options.steps,
            learning_rate=1e-4,
            per_device_train_batch_size=8,
            logging_steps=1,
            bf16=model.dtype == torch.bfloat16,
            use_cpu=model.device.type == "cpu",
            report_to="none",
        ),
    )
    trainer.train()
    trainer.save_model()
    return trainer


def prompt_and_completion(row: dict[str, Any]) -> dict[str, Any]:
    """A row of which TRL trains on the last answer alone."""
    return {"prompt": row["messages"][:-1], "completion": row["messages"][-1:]}


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path, default=DEMO)
    parser.add_argument("--model", default="builtin:smollm2-aligned")
    parser.add_argument("--out", type=Path, default=Path("adapter"))
    parser.add_argument("--steps", type=int, default=20)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
