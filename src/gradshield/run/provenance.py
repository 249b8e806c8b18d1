"""What made an output: inputs, model, versions and hardware."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gradshield import __version__
from gradshield.config import RunConfig
from gradshield.data import DataSource
from gradshield.models.load import LoadedModel

PACKAGES = ("torch", "transformers", "tokenizers", "peft", "numpy", "scipy", "scikit-learn")


def run_identity(config: RunConfig, loaded: LoadedModel, source: DataSource) -> dict[str, Any]:
    """What decides the scores of a run: two runs that agree in this have the same scores."""
    return {
        "data_sha256": source.sha256(),
        "model": config.model.name,
        "adapter": config.model.adapter,
        **model_identity(loaded),
        **config.data.model_dump(mode="json"),
        **config.scoring.model_dump(),
    }


def model_identity(loaded: LoadedModel) -> dict[str, Any]:
    """What decides the numbers that come out of a loaded model."""
    return {
        "gradshield": __version__,
        "weights_sha256": weights_sha256(loaded.model),
        "tokenizer_sha256": tokenizer_sha256(loaded.tokenizer),
        "dtype": str(loaded.model.dtype).removeprefix("torch."),
        "attention": getattr(loaded.model.config, "_attn_implementation", None),
    }


def loss_record(config: RunConfig) -> dict[str, str]:
    """What the trainer profile of a run comes to, in words, and how FIHS counts tokens."""
    return {**config.data.profile.facts(), "reduction": config.scoring.reduction}


def run_record(source: DataSource) -> dict[str, Any]:
    """Where the data lies, versions, hardware and command; not part of a run's identity."""
    return {
        "data": source.location,
        "files": len(source.files),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": versions(),
        "hardware": hardware(),
    }


def versions() -> dict[str, str]:
    """Version of Python, GradShield and the libraries that touch the numbers."""
    found = {"python": platform.python_version(), "gradshield": __version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def hardware() -> dict[str, Any]:
    """Processor, cores in use and accelerator."""
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": accelerator,
    }


def weights_sha256(model: PreTrainedModel) -> str:
    """SHA-256 over all weights in the order of their names, adapters merged."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        # Half-precision types have no NumPy twin: hash the bytes.
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(memoryview(flat.view(torch.uint8).numpy()))
    return digest.hexdigest()


def tokenizer_sha256(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of the vocabulary and the chat template."""
    vocabulary = sorted(tokenizer.get_vocab().items())
    content = repr((vocabulary, tokenizer.chat_template))
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
