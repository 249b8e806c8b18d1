"""Filter preferences, then train on what is kept with TRL's DPOTrainer.

    python examples/trl_dpo.py preferences.jsonl --model path/to/chat-model --out my-adapter

Rows have `chosen` and `rejected`, and a `prompt` or not, as TRL reads them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from datasets import load_dataset
from peft import LoraConfig
from trl import DPOConfig, DPOTrainer

from gradshield import GradShield


def main(arguments: Sequence[str] | None = None) -> DPOTrainer:
    """Filter, train, and save the adapter; returns the trainer."""
    options = _options(arguments)
    rows = load_dataset("json", data_files=str(options.data), split="train")

    shield = GradShield(options.model)
    result = shield.filter(rows)
    print(f"{len(result.kept)} of {len(rows)} rows kept. {result.decision.reason}")

    model = shield.loaded.model
    # With an adapter the reference of DPO is the model without it: the one that was scored.
    trainer = DPOTrainer(
        model=model,
        processing_class=shield.loaded.tokenizer,
        train_dataset=result.kept,
        peft_config=LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM"),
        args=DPOConfig(
            output_dir=str(options.out),
            max_steps=options.steps,
            learning_rate=1e-4,
            per_device_train_batch_size=4,
            logging_steps=1,
            bf16=model.dtype == torch.bfloat16,
            use_cpu=model.device.type == "cpu",
            report_to="none",
        ),
    )
    trainer.train()
    trainer.save_model()
    return trainer


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="builtin:smollm2-aligned")
    parser.add_argument("--out", type=Path, default=Path("adapter"))
    parser.add_argument("--steps", type=int, default=20)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
