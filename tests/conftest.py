"""Settings of the whole suite: no network, one thread, no deadlines."""

from __future__ import annotations

import os

# Before torch and huggingface_hub are imported, which read them once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import Phase, settings

# How long an example takes says something about the machine, nothing about the code.
settings.register_profile("no deadline", deadline=None)
# For `make mutation`: the same examples for each mutant, and no search for the smallest that fails.
settings.register_profile(
    "mutation",
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
)
settings.load_profile("no deadline")
