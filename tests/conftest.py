"""Settings of the whole suite: no network, one thread, no deadlines."""

from __future__ import annotations

import os

# Before torch and huggingface_hub are imported, which read them once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

# How long an example takes says something about the machine, nothing about the code.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
